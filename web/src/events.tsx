// SPDX-License-Identifier: GPL-2.0-only
import { useContext } from 'preact/hooks';
import { clock, eventText } from './text';
import type { JournalEvent } from './types';
import { NowContext } from './ui';

const SHOWN = 40;

export function Events({ events }: { events: JournalEvent[] }) {
  const now = useContext(NowContext);

  return (
    <section class="card" aria-labelledby="events-title">
      <div class="card-head">
        <h2 id="events-title">Events</h2>
      </div>
      {events.length === 0 && <p class="empty">Nothing has happened yet.</p>}
      <ol class="events" tabIndex={0} aria-labelledby="events-title">
        {events.slice(0, SHOWN).map((e) => (
          <li key={e.id} class={tone(e)}>
            <time dateTime={e.at}>{clock(e.at, now)}</time>
            <span>{eventText(e)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function tone(e: JournalEvent): string {
  if (e.type === 'alert') return e.severity === 'critical' ? 'bad' : e.severity === 'warning' ? 'warn' : '';
  return e.action === 'timeout' ? 'warn' : e.action === 'join' ? 'good' : '';
}
