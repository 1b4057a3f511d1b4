// SPDX-License-Identifier: GPL-2.0-only
import type { ComponentChildren } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { DeviceRow } from './device';
import { isCut, plural, titleOf } from './text';
import type { Device } from './types';
import type { Ctx } from './ui';

const PAGE = 50;

const FILTERS = {
  all: { word: 'All', test: (_: Device) => true },
  online: { word: 'Online', test: (d: Device) => d.presence.status === 'online' },
  offline: { word: 'Offline', test: (d: Device) => d.presence.status !== 'online' },
  pending: { word: 'Waiting', test: (d: Device) => d.state === 'pending' },
  quarantine: { word: 'Quarantined', test: isCut },
};
type Filter = keyof typeof FILTERS;

/** What asks for attention comes first; then who is there; then by name. */
function rank(d: Device): number {
  if (d.state === 'pending') return 0;
  if (isCut(d)) return 1;
  if (d.state === 'revoked') return 5;
  return d.state === 'seen' ? 4 : d.presence.status === 'online' ? 2 : 3;
}

function matches(d: Device, words: string): boolean {
  const hay = [d.id, d.name, d.class, d.vendor, d.hostname, ...d.addresses.mac, ...d.addresses.ipv4, ...d.addresses.ipv6];

  return hay.join(' ').toLowerCase().includes(words);
}

interface Props {
  devices: Device[];
  ctx: Ctx;
  pair: ComponentChildren;
}

export function Devices({ devices, ctx, pair }: Props) {
  const [filter, setFilter] = useState<Filter>('all');
  const [words, setWords] = useState('');
  const [shown, setShown] = useState(PAGE);

  const found = useMemo(
    () =>
      devices
        .filter((d) => FILTERS[filter].test(d) && matches(d, words.trim().toLowerCase()))
        .sort((a, b) => rank(a) - rank(b) || titleOf(a).localeCompare(titleOf(b))),
    [devices, filter, words],
  );

  return (
    <section class="devices" id="devices" tabIndex={-1} aria-labelledby="devices-title">
      <div class="card-head">
        <h2 id="devices-title">Devices</h2>
        {pair}
      </div>
      <div class="filters">
        <input
          type="search"
          aria-label="Search devices"
          placeholder="Name, class or address"
          value={words}
          onInput={(e) => setWords(e.currentTarget.value)}
        />
        <div role="group" aria-label="Show">
          {(Object.keys(FILTERS) as Filter[]).map((f) => (
            <button key={f} type="button" class="chip" aria-pressed={f === filter} onClick={() => setFilter(f)}>
              {FILTERS[f].word}
            </button>
          ))}
        </div>
      </div>
      <p class="unseen" role="status">
        {words || filter !== 'all' ? `${plural(found.length, 'device')} shown` : ''}
      </p>
      {found.length === 0 && (
        <p class="card empty">
          {devices.length ? 'No device matches.' : 'No device yet. Plug one in, or open a pairing window.'}
        </p>
      )}
      <ul class="list">
        {found.slice(0, shown).map((d) => (
          <DeviceRow key={d.id} device={d} ctx={ctx} />
        ))}
      </ul>
      {found.length > shown && (
        <button type="button" class="quiet more" onClick={() => setShown(shown + PAGE)}>
          Show more ({found.length - shown} left)
        </button>
      )}
    </section>
  );
}
