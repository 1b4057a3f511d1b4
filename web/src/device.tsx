// SPDX-License-Identifier: GPL-2.0-only
// One device: who it is, whether it is there and why not, and what can be done about it.

import { useState } from 'preact/hooks';
import { api } from './api';
import { ApproveDialog, ForgetDialog, QuarantineDialog, RevokeDialog } from './dialogs';
import { ProfileSection } from './profile';
import { bytes, cause, count, isCut, MODES, plural, PRESENCE, STATES, titleOf } from './text';
import type { Device, Verdict } from './types';
import { Ago, Problem, When, type Ctx } from './ui';

type Asking = 'approve' | 'quarantine' | 'revoke' | 'forget' | null;

export function DeviceRow({ device: d, ctx }: { device: Device; ctx: Ctx }) {
  const [asking, setAsking] = useState<Asking>(null);
  const [open, setOpen] = useState(false);
  const close = () => setAsking(null);
  const title = titleOf(d);
  const heading = `dev-${d.id}`;
  const dialog = { device: d, ctx, close };

  return (
    <li>
      <article class={`card device ${isCut(d) ? 'cut' : ''}`} data-device={d.id} aria-labelledby={heading}>
        <div class="device-who">
          <h3 id={heading}>{title}</h3>
          <p class="sub">
            {title !== d.id && <span class="mono">{d.id}</span>}
            {d.class && <span>{d.class}</span>}
            {d.vendor && <span>{d.vendor}</span>}
            {d.state !== 'approved' && <span class={`badge ${d.state}`}>{STATES[d.state] ?? d.state}</span>}
          </p>
        </div>
        <Presence device={d} />
        {d.quarantine && <Cut verdict={d.quarantine} />}
        <div class="device-do">
          {ctx.admin && <Verbs device={d} ctx={ctx} ask={setAsking} />}
          <button type="button" class="quiet fold" aria-expanded={open} onClick={() => setOpen(!open)}>
            <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
              <path d="m3 6 5 5 5-5" />
            </svg>
            <span class="unseen">Details of {title}</span>
          </button>
        </div>
        {open && <Details device={d} ctx={ctx} ask={setAsking} />}
      </article>
      {asking === 'approve' && <ApproveDialog {...dialog} />}
      {asking === 'quarantine' && <QuarantineDialog {...dialog} />}
      {asking === 'revoke' && <RevokeDialog {...dialog} />}
      {asking === 'forget' && <ForgetDialog {...dialog} />}
    </li>
  );
}

function Presence({ device: d }: { device: Device }) {
  const p = d.presence;
  const why = p.status === 'offline' ? cause(p.cause) : '';
  const seen = p.status !== 'online' && d.last_seen;

  return (
    <p class={`presence ${p.status}`} data-status={p.status} data-cause={p.cause ?? ''}>
      <span class="dot" aria-hidden="true" />
      <span>
        <strong>{PRESENCE[p.status] ?? p.status}</strong>
        {why && <>: {why}</>}
        {p.since && (
          <small>
            since <When at={p.since} />
          </small>
        )}
        {seen && (
          <small>
            last seen <Ago at={seen} />
          </small>
        )}
      </span>
    </p>
  );
}

function Cut({ verdict: v }: { verdict: Verdict }) {
  return (
    <p class={v.mode === 'observe' ? 'cutline watched' : 'cutline'}>
      <strong>{MODES[v.mode] ?? v.mode}</strong>
      {v.address && (
        <>
          , <span class="mono">{v.address}</span> only,
        </>
      )}{' '}
      by {v.by} since <When at={v.since} />
      {v.reason && <>: {v.reason}</>}.{' '}
      {v.until ? <>Until <When at={v.until} />.</> : 'Until released.'}{' '}
      {v.mode !== 'observe' && (
        <>
          <span data-dropped={v.dropped_packets}>{plural(v.dropped_packets, 'packet')}</span> of it dropped so far,{' '}
          {bytes(v.dropped_bytes)}.
        </>
      )}
    </p>
  );
}

interface VerbsProps {
  device: Device;
  ctx: Ctx;
  ask(a: Asking): void;
}

function Verbs({ device: d, ctx, ask }: VerbsProps) {
  const [error, setError] = useState('');
  const name = <span class="unseen"> {titleOf(d)}</span>;

  const release = async () => {
    setError('');
    try {
      await api.release(d.id);
      ctx.say(`${titleOf(d)} is released.`);
    } catch (err) {
      setError((err as Error).message);
    }
    ctx.refresh();
  };

  return (
    <>
      {(d.state === 'pending' || d.state === 'seen') && (
        <button type="button" class={d.state === 'pending' ? 'primary' : 'quiet'} onClick={() => ask('approve')}>
          Approve{name}
        </button>
      )}
      {/* A verdict of policy goes with approval or forgetting, not by release. */}
      {d.quarantine && d.quarantine.by !== 'policy' && (
        <button type="button" class={isCut(d) ? 'primary' : 'quiet'} onClick={() => void release()}>
          {isCut(d) ? 'Release' : 'Stop observing'}
          {name}
        </button>
      )}
      {(!isCut(d) || d.quarantine?.address) && (
        <button type="button" class="danger-quiet" onClick={() => ask('quarantine')}>
          Quarantine{name}
        </button>
      )}
      <Problem text={error} />
    </>
  );
}

function Details({ device: d, ctx, ask }: VerbsProps) {
  const t = d.traffic;

  return (
    <div class="details">
      <dl class="pairs">
        <dt>State</dt>
        <dd>{STATES[d.state] ?? d.state}</dd>
        <Addresses name="MAC" list={d.addresses.mac} />
        <Addresses name="IPv4" list={d.addresses.ipv4} />
        <Addresses name="IPv6" list={d.addresses.ipv6} />
        <dt>Sent</dt>
        <dd>
          {bytes(t.rx_bytes)}, {count(t.rx_packets)} packets
        </dd>
        <dt>Received</dt>
        <dd>
          {bytes(t.tx_bytes)}, {count(t.tx_packets)} packets
        </dd>
        {d.hostname && (
          <>
            <dt>Host name</dt>
            <dd>{d.hostname}</dd>
          </>
        )}
        <dt>First seen</dt>
        <dd>
          <Ago at={d.first_seen} />
        </dd>
        {d.last_seen && (
          <>
            <dt>Last seen</dt>
            <dd>
              <Ago at={d.last_seen} />
            </dd>
          </>
        )}
      </dl>
      <ProfileSection device={d} ctx={ctx} />
      {ctx.admin && (
        <div class="device-do">
          {d.state === 'approved' && (
            <>
              <button type="button" class="quiet" onClick={() => ask('approve')}>
                Rename
              </button>
              <button type="button" class="danger-quiet" onClick={() => ask('revoke')}>
                Revoke certificate
              </button>
            </>
          )}
          {d.state !== 'approved' && (
            <button type="button" class="danger-quiet" onClick={() => ask('forget')}>
              Forget
            </button>
          )}
        </div>
      )}
    </div>
  );
}

function Addresses({ name, list }: { name: string; list: string[] }) {
  if (!list.length) return null;
  return (
    <>
      <dt>{name}</dt>
      <dd class="mono break">{list.join(', ')}</dd>
    </>
  );
}
