// SPDX-License-Identifier: GPL-2.0-only
// The questions asked before something is done to a device.

import { api } from './api';
import { titleOf } from './text';
import type { Device, Mode } from './types';
import { ActionForm, Dialog, type Ctx } from './ui';

interface Props {
  device: Device;
  ctx: Ctx;
  close(): void;
}

/** Close, tell, and bring the new picture, once `deed` has succeeded. */
async function finish({ ctx, close }: Props, deed: Promise<unknown>, said: string) {
  await deed;
  close();
  ctx.say(said);
  ctx.refresh();
}

export function ApproveDialog(p: Props) {
  const { device: d } = p;
  const known = d.state === 'approved';
  const act = (f: FormData) =>
    finish(
      p,
      api.approve(d.id, String(f.get('name')).trim(), String(f.get('class')).trim()),
      known ? `${d.id} is renamed.` : `${d.id} is approved.`,
    );

  return (
    <Dialog title={known ? `Name and class of ${d.id}` : `Approve ${d.id}`} close={p.close}>
      <ActionForm verb={known ? 'Save' : 'Approve'} cancel={p.close} act={act}>
        {d.state === 'pending' && <p>It gets its certificate and may use its own topics.</p>}
        {d.state === 'seen' && <p>You know this address. It has asked for no certificate yet.</p>}
        <label>
          Name
          <input name="name" maxLength={64} defaultValue={d.name} autocomplete="off" autofocus />
        </label>
        <label>
          Class <span class="hint">(grants go by class, such as camera)</span>
          <input name="class" maxLength={64} defaultValue={d.class} autocomplete="off" autocapitalize="none" />
        </label>
      </ActionForm>
    </Dialog>
  );
}

const DURATIONS: [number, string][] = [
  [0, 'Until I release it'],
  [900, '15 minutes'],
  [3600, '1 hour'],
  [86400, '1 day'],
  [604800, '1 week'],
];

export function QuarantineDialog(p: Props) {
  const { device: d } = p;
  const act = (f: FormData) => {
    const mode = f.get('mode') as Mode;

    return finish(
      p,
      api.quarantine(d.id, mode, Number(f.get('seconds')), String(f.get('reason')).trim()),
      `${titleOf(d)} is ${mode === 'observe' ? 'observed' : 'in quarantine'}.`,
    );
  };

  return (
    <Dialog title={`Quarantine ${titleOf(d)}`} close={p.close}>
      <ActionForm verb="Quarantine" danger cancel={p.close} act={act}>
        <fieldset>
          <legend>How</legend>
          <label class="choice">
            <input type="radio" name="mode" value="isolate" defaultChecked autofocus />
            <span>
              Isolate <small>Not one packet from it or to it passes.</small>
            </span>
          </label>
          <label class="choice">
            <input type="radio" name="mode" value="remediate" />
            <span>
              Repairs only <small>It reaches the gateway to renew itself, and nothing else.</small>
            </span>
          </label>
          <label class="choice">
            <input type="radio" name="mode" value="observe" />
            <span>
              Observe <small>Nothing is cut off: what it does is counted and reported.</small>
            </span>
          </label>
        </fieldset>
        <label>
          How long
          <select name="seconds">
            {DURATIONS.map(([s, word]) => (
              <option key={s} value={s}>
                {word}
              </option>
            ))}
          </select>
        </label>
        <label>
          Reason <span class="hint">(others will read it; at most 200 bytes)</span>
          <input name="reason" maxLength={200} autocomplete="off" />
        </label>
      </ActionForm>
    </Dialog>
  );
}

export function RevokeDialog(p: Props) {
  const { device: d } = p;

  return (
    <Dialog title={`Revoke ${titleOf(d)}?`} close={p.close}>
      <ActionForm verb="Revoke" danger cancel={p.close} act={() => finish(p, api.revoke(d.id), `${titleOf(d)} is revoked.`)}>
        <p>Its certificate is refused for good and its session ends. To come back it has to be paired again.</p>
      </ActionForm>
    </Dialog>
  );
}

export function ForgetDialog(p: Props) {
  const { device: d } = p;

  return (
    <Dialog title={`Forget ${titleOf(d)}?`} close={p.close}>
      <ActionForm verb="Forget" danger cancel={p.close} act={() => finish(p, api.forget(d.id), `${titleOf(d)} is forgotten.`)}>
        <p>Its record goes, with its name and history. If it is still plugged in, it will be seen again.</p>
      </ActionForm>
    </Dialog>
  );
}
