// SPDX-License-Identifier: GPL-2.0-only
// The admin API as functions. Every failure is an ApiError whose message can be shown as it is.

import type { Device, JournalEvent, Mode, Pairing, Profile, Session, Status, TestReport, Verdict } from './types';

const BASE = '/api/v1';
const PATIENCE_MS = 10_000;
const TEST_MS = 30_000; // the gateway gives up sooner

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly body: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

const call = (method: string, path: string, body?: unknown, patience = PATIENCE_MS) =>
  send(method, path, body === undefined ? undefined : JSON.stringify(body), patience);

async function send(method: string, path: string, body?: string, patience = PATIENCE_MS): Promise<unknown> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), patience);
  let res: Response;
  let text: string;

  try {
    res = await fetch(BASE + path, {
      method,
      cache: 'no-store',
      credentials: 'same-origin',
      signal: abort.signal,
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      body,
    });
    text = await res.text();
  } catch {
    throw new ApiError(0, 'The gateway does not answer.');
  } finally {
    clearTimeout(timer);
  }

  let json: unknown = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    /* an answer that is no JSON has only its status */
  }
  if (res.ok) return json;

  const problem = (json && typeof json === 'object' ? json : {}) as Record<string, unknown>;
  const detail = problem.detail ?? problem.title ?? `The gateway answered ${res.status}.`;
  throw new ApiError(res.status, String(detail), problem);
}

const device = (id: string) => `/devices/${encodeURIComponent(id)}`;

const PAGE = 500;

/** All of them, page by page. */
async function devices(): Promise<Device[]> {
  const all: Device[] = [];

  for (;;) {
    const after = all.length ? `&after=${encodeURIComponent(all[all.length - 1]!.id)}` : '';
    const page = (await call('GET', `/devices?limit=${PAGE}${after}`)) as Device[];
    all.push(...page);
    if (page.length < PAGE) return all;
  }
}

export const api = {
  session: () => call('GET', '/session') as Promise<Session>,
  login: (user: string, password: string) => call('POST', '/login', { user, password }),
  setup: (code: string, password: string) =>
    call('POST', '/setup', { code, user: 'admin', password }),
  logout: () => call('POST', '/logout', {}),
  status: () => call('GET', '/status') as Promise<Status>,
  devices,
  events: (limit: number) => call('GET', `/events?limit=${limit}`) as Promise<JournalEvent[]>,
  approve: (id: string, name: string, cls: string) =>
    call('POST', `${device(id)}/approve`, { name, class: cls }),
  revoke: (id: string) => call('POST', `${device(id)}/revoke`, {}),
  forget: (id: string) => call('DELETE', device(id)),
  quarantine: (id: string, mode: Mode, seconds: number, reason: string) =>
    call('POST', `${device(id)}/quarantine`, { mode, seconds, reason }),
  release: (id: string) => call('DELETE', `${device(id)}/quarantine`),
  /** The first of them; there may be a hundred thousand. */
  verdicts: () => call('GET', `/quarantine?limit=${PAGE}`) as Promise<Verdict[]>,
  releaseAddress: (address: string) => call('DELETE', `/quarantine/${address}`),
  isolation: () => call('GET', '/isolation') as Promise<{ test: TestReport | null }>,
  testIsolation: () => call('POST', '/isolation/test', {}, TEST_MS) as Promise<TestReport>,
  profile: (id: string) => call('GET', `${device(id)}/profile`) as Promise<Profile>,
  learn: (id: string, seconds: number) => call('POST', `${device(id)}/profile/learn`, { seconds }),
  report: (id: string) => call('POST', `${device(id)}/profile/report`, {}),
  enforce: (id: string) => call('POST', `${device(id)}/profile/enforce`, {}),
  profileOff: (id: string) => call('POST', `${device(id)}/profile/off`, {}),
  /** The file as it is: the gateway says what is wrong with it. */
  mudSet: (id: string, text: string) => send('PUT', `${device(id)}/profile/mud`, text),
  pair: (seconds: number) => call('POST', '/pairing', { seconds }) as Promise<Pairing>,
  pairEnd: () => call('DELETE', '/pairing'),
};

export const mudPath = (id: string) => `${BASE}${device(id)}/profile/mud`;

export const STREAM = `${BASE}/events/stream`;
