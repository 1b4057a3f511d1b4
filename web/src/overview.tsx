// SPDX-License-Identifier: GPL-2.0-only
// The gateway at a glance, its ports and its way to the cloud.

import { useState } from 'preact/hooks';
import { api, ApiError } from './api';
import type { Check, Port, Status, Test } from './types';
import { bytes, count, guard, plural, span } from './text';
import { Ago, Problem, type Ctx } from './ui';

/** One sentence that tells whether somebody has to do something, then the figures; both of `lostAt`
 *  when the connection is lost. */
export function Glance({ status: s, lostAt }: { status: Status; lostAt?: number }) {
  const worries = [
    s.isolation.state === 'off' && 'isolation is off',
    s.isolation.state === 'degraded' && 'isolation is degraded',
    !!s.isolation.test?.failed && 'the isolation test failed',
    s.uplink.state === 'connecting' && 'the cloud is out of reach',
  ].filter(Boolean) as string[];
  const tasks = [
    s.devices.pending > 0 && `${plural(s.devices.pending, 'device')} waiting for you`,
    s.devices.quarantined > 0 && `${plural(s.devices.quarantined, 'device')} in quarantine`,
  ].filter(Boolean) as string[];
  const tone = worries.length ? 'bad' : tasks.length || lostAt ? 'warn' : 'good';
  const known = [...worries, ...tasks].join(', ') || 'all is well';
  const text = lostAt ? `at ${new Date(lostAt).toLocaleTimeString()}: ${known}` : known;

  return (
    <section class="glance" aria-label="Gateway at a glance">
      <p class={`verdict ${tone}`}>
        <span class="dot" aria-hidden="true" />
        {text[0]!.toUpperCase() + text.slice(1)}.
      </p>
      <dl class="figures">
        <Figure name="Online" value={count(s.devices.online)} of={`of ${count(s.devices.known)} known`} />
        <Figure name="Waiting" value={count(s.devices.pending)} />
        <Figure name="Quarantined" value={count(s.devices.quarantined)} />
        <Figure name="Running for" value={span(s.uptime_s)} />
      </dl>
    </section>
  );
}

function Figure({ name, value, of }: { name: string; value: string; of?: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value} {of && <small>{of}</small>}
      </dd>
    </div>
  );
}

const ISOLATION = { enforcing: 'Enforcing', degraded: 'Degraded', off: 'Off' };

export function Ports({ status, ctx }: { status: Status; ctx: Ctx }) {
  const { state, interfaces, test } = status.isolation;

  return (
    <section class="card" aria-labelledby="ports-title">
      <div class="card-head">
        <h2 id="ports-title">Isolation</h2>
        <span class={`badge ${state === 'enforcing' ? 'good' : 'bad'}`}>{ISOLATION[state] ?? state}</span>
      </div>
      {interfaces.length === 0 ? (
        <p class="empty">No LAN port yet. It is guarded the moment it appears.</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">Port</th>
              <th scope="col">Guard</th>
              <th scope="col" class="num">
                Dropped
              </th>
            </tr>
          </thead>
          <tbody>
            {interfaces.map((p) => {
              const g = guard(p);
              return (
                <tr key={p.name} data-port={p.name}>
                  <th scope="row" class="mono">
                    {p.name}
                  </th>
                  <td>
                    <span class={g.good ? 'ok' : 'ko'}>{g.word}</span>
                    <small>{g.detail}</small>
                    {p.reason && <small>{p.reason}</small>}
                    <Bypass port={p} />
                  </td>
                  <td class="num" data-dropped={p.dropped_packets}>
                    {count(p.dropped_packets)}
                    <small>{bytes(p.dropped_bytes)}</small>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      {state !== 'off' && <Proof test={test} ctx={ctx} />}
    </section>
  );
}

/** What the guard of a port cannot see, as detected. */
function Bypass({ port }: { port: Port }) {
  return (
    <>
      {port.bypass.map((text) => (
        <small key={text} class="bypass">
          {text}
        </small>
      ))}
      {port.notes.map((text) => (
        <small key={text}>{text}</small>
      ))}
    </>
  );
}

/** The last isolation test, and the button that runs it. */
function Proof({ test, ctx }: { test: Test | null; ctx: Ctx }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const [checks, setChecks] = useState<Check[] | null>(null);

  const attempt = async (what: () => Promise<Check[] | null>) => {
    setBusy(true);
    setError('');
    try {
      setChecks(await what());
    } catch (err) {
      setError((err as ApiError).message);
    }
    setBusy(false);
  };
  const run = () =>
    attempt(async () => {
      const t = await api.testIsolation();

      ctx.say(t.failed ? `The isolation test failed in ${plural(t.failed, 'check')}.` : 'The isolation test passed.');
      ctx.refresh();
      return t.checks;
    });
  const show = () => attempt(async () => (await api.isolation()).test?.checks ?? null);

  return (
    <div class="proof" data-test={test ? (test.failed ? 'failed' : 'passed') : 'none'}>
      <p>
        {test ? (
          <>
            <span class={test.failed ? 'ko' : 'ok'}>
              {test.failed ? `Test failed: ${test.failed} of ${plural(test.failed + test.passed, 'check')}` : `Proven: ${plural(test.passed, 'check')} passed`}
            </span>
            <small>
              <Ago at={test.at} />, in {count(test.took_ms)} ms{test.skipped > 0 && `, ${count(test.skipped)} left out`}
            </small>
          </>
        ) : (
          <span>Not tested since the gateway started.</span>
        )}
      </p>
      <div class="actions">
        {test && (
          <button type="button" class="quiet" aria-expanded={checks !== null} onClick={() => (checks ? setChecks(null) : void show())}>
            {checks ? 'Hide checks' : 'Show checks'}
          </button>
        )}
        {ctx.admin && (
          <button type="button" class="quiet" aria-disabled={busy} onClick={() => !busy && void run()}>
            {busy ? 'Testing …' : 'Test now'}
          </button>
        )}
      </div>
      <Problem text={error} />
      {checks && <Checks checks={checks} />}
    </div>
  );
}

const ORDER = { failed: 0, skipped: 1, passed: 2 };
const MARK = { failed: 'ko', skipped: '', passed: 'ok' };

/** Failed ones first. */
function Checks({ checks }: { checks: Check[] }) {
  const sorted = [...checks].sort((a, b) => ORDER[a.result] - ORDER[b.result]);

  return (
    <ul class="checks" aria-label="Checks of the isolation test" tabIndex={0}>
      {sorted.map((c) => (
        <li key={`${c.where} ${c.name}`} data-result={c.result}>
          <span class={MARK[c.result]}>{c.result}</span> {c.where && `${c.where}: `}
          {c.name}
          {c.detail && <small> ({c.detail})</small>}
        </li>
      ))}
    </ul>
  );
}

const UPLINK = { connected: 'Connected', connecting: 'Connecting', off: 'Local only' };

export function Uplink({ status }: { status: Status }) {
  const u = status.uplink;
  const tone = { connected: 'good', connecting: 'bad', off: '' }[u.state];

  return (
    <section class="card" aria-labelledby="uplink-title">
      <div class="card-head">
        <h2 id="uplink-title">Cloud</h2>
        <span class={`badge ${tone}`}>{UPLINK[u.state] ?? u.state}</span>
      </div>
      {u.state === 'off' ? (
        <p class="empty">No broker is configured; nothing leaves this site.</p>
      ) : (
        <>
          <p class="mono break">{u.broker}</p>
          <dl class="pairs">
            <dt>Delivered</dt>
            <dd>{plural(u.acknowledged, 'message')}</dd>
            <dt>Waiting on disk</dt>
            <dd>
              {plural(u.spooled_messages, 'message')}, {bytes(u.spooled_bytes)}
            </dd>
            <dt>On the way</dt>
            <dd>{count(u.in_flight)}</dd>
          </dl>
          {u.state !== 'connected' && u.last_error && <p class="problem">{u.last_error}</p>}
        </>
      )}
    </section>
  );
}
