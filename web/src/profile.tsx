// SPDX-License-Identifier: GPL-2.0-only
// What a device does on the wire and may do: learned, reported, enforced; its MUD file in and out.

import { useEffect, useRef, useState } from 'preact/hooks';
import { api, mudPath } from './api';
import { bytes, count, limitText, PROFILES, plural, protocol, titleOf } from './text';
import type { Conversation, Device, Profile } from './types';
import { Problem, When, type Ctx } from './ui';

const SHOWN = 20; // conversations and rules; the command shows all
const POLL_MS = 5000; // while it is learned

interface Props {
  device: Device;
  ctx: Ctx;
}

export function ProfileSection({ device: d, ctx }: Props) {
  const [profile, setProfile] = useState<Profile | null>(null);
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const open = useRef(true);

  const load = async () => {
    try {
      const p = await api.profile(d.id);
      if (open.current) setProfile(p);
    } catch (err) {
      if (open.current) setError((err as Error).message);
    }
  };

  useEffect(() => {
    open.current = true;
    void load();
    return () => void (open.current = false);
  }, [d.id]);

  useEffect(() => {
    if (!profile?.learning) return;
    const t = setInterval(() => void load(), POLL_MS);
    return () => clearInterval(t);
  }, [profile?.learning]);

  const act = async (deed: () => Promise<unknown>, said: string) => {
    if (busy) return;
    setBusy(true);
    setError('');
    try {
      await deed();
      ctx.say(said);
    } catch (err) {
      setError((err as Error).message);
    }
    setBusy(false);
    await load();
  };

  return (
    <section class="profile" data-profile={profile?.state ?? ''} aria-label={`Profile of ${titleOf(d)}`}>
      <h4>On the wire</h4>
      {profile && <State profile={profile} />}
      {profile && ctx.admin && <Verbs device={d} profile={profile} busy={busy} act={act} />}
      <Problem text={error} />
      {profile && <Rules profile={profile} />}
      {profile && <Learned list={profile.learned.conversations} missed={profile.learned.missed} />}
    </section>
  );
}

function State({ profile: p }: { profile: Profile }) {
  return (
    <dl class="pairs">
      <dt>Profile</dt>
      <dd>
        {PROFILES[p.state] ?? p.state}
        {p.until && (
          <>
            {' '}
            until <When at={p.until} />
          </>
        )}
        {p.learning && p.state !== 'learning' && ', and learned while it is observed'}
        {p.problem && <strong> The kernel does not have it: {p.problem}.</strong>}
      </dd>
      {limitText(p.limits) && (
        <>
          <dt>Limit</dt>
          <dd>{limitText(p.limits)}</dd>
        </>
      )}
      {limitText(p.suggested) && (
        <>
          <dt>Twice its peak</dt>
          <dd>{limitText(p.suggested)}</dd>
        </>
      )}
      {p.notes.length > 0 && (
        <>
          <dt>Notes</dt>
          <dd class="break">{p.notes.join('. ')}.</dd>
        </>
      )}
    </dl>
  );
}

interface VerbsProps {
  device: Device;
  profile: Profile;
  busy: boolean;
  act(deed: () => Promise<unknown>, said: string): Promise<void>;
}

function Verbs({ device: d, profile: p, busy, act }: VerbsProps) {
  const file = useRef<HTMLInputElement>(null);
  const name = titleOf(d);

  const upload = (input: HTMLInputElement) => {
    const chosen = input.files?.[0];
    if (!chosen) return;
    void act(async () => api.mudSet(d.id, await chosen.text()), `The file is the profile of ${name}.`);
    input.value = '';
  };

  return (
    <div class="device-do">
      {p.state !== 'learning' && (
        <button type="button" class="quiet" aria-disabled={busy} onClick={() => void act(() => api.learn(d.id, 86_400), `${name} is learned for a day.`)}>
          Learn for a day
        </button>
      )}
      {p.state !== 'reporting' && (
        <button type="button" class="quiet" aria-disabled={busy} onClick={() => void act(() => api.report(d.id), `What departs from the profile of ${name} is reported.`)}>
          Report departures
        </button>
      )}
      {p.state !== 'enforcing' && (
        <button type="button" class="danger-quiet" aria-disabled={busy} onClick={() => void act(() => api.enforce(d.id), `The profile of ${name} is enforced.`)}>
          Enforce
        </button>
      )}
      {p.state !== 'off' && (
        <button type="button" class="quiet" aria-disabled={busy} onClick={() => void act(() => api.profileOff(d.id), `The profile of ${name} is off.`)}>
          Switch off
        </button>
      )}
      {p.rules.length > 0 && (
        <a class="button quiet" href={mudPath(d.id)} download={`${d.id}.mud.json`}>
          Download MUD file
        </a>
      )}
      <button type="button" class="quiet" aria-disabled={busy} onClick={() => file.current?.click()}>
        Upload MUD file
      </button>
      <input
        ref={file}
        type="file"
        accept=".json,application/mud+json,application/json"
        hidden
        aria-label={`MUD file for ${name}`}
        onChange={(e) => upload(e.currentTarget)}
      />
    </div>
  );
}

const range = ([from, to]: [number, number]) => (from === 0 && to === 65_535 ? 'any' : from === to ? `${from}` : `${from}–${to}`);

function Rules({ profile: p }: { profile: Profile }) {
  if (!p.rules.length) return null;
  return (
    <table data-rules={p.rules.length}>
      <caption>May do ({plural(p.rules.length, 'rule')})</caption>
      <thead>
        <tr>
          <th scope="col">Way</th>
          <th scope="col">Protocol</th>
          <th scope="col">Ports</th>
          <th scope="col">With</th>
        </tr>
      </thead>
      <tbody>
        {p.rules.slice(0, SHOWN).map((r, i) => (
          <tr key={i}>
            <td>{r.direction === 'from-device' ? 'from it' : 'to it'}</td>
            <td>{protocol(r.protocol)}</td>
            <td>
              {range(r.device_ports)} → {range(r.peer_ports)}
            </td>
            <td class="break">{r.peers.map((x) => x.class ?? x.name ?? x.address).join(', ')}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Learned({ list, missed }: { list: Conversation[]; missed: number }) {
  if (!list.length) return null;
  return (
    <table data-learned={list.length}>
      <caption>
        Did ({plural(list.length, 'conversation')}
        {missed > 0 && `, ${count(missed)} more found no room`})
      </caption>
      <thead>
        <tr>
          <th scope="col">Opened</th>
          <th scope="col">Protocol</th>
          <th scope="col">Port</th>
          <th scope="col">With</th>
          <th scope="col" class="num">
            Amount
          </th>
        </tr>
      </thead>
      <tbody>
        {list.slice(0, SHOWN).map((c, i) => (
          <tr key={i}>
            <td>{c.direction === 'from-device' ? 'by it' : 'by the peer'}</td>
            <td>{protocol(c.protocol)}</td>
            <td>{c.port}</td>
            <td class="break">{c.name ? `${c.name} (${c.peer})` : c.peer}</td>
            <td class="num">{bytes(c.bytes)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
