// SPDX-License-Identifier: GPL-2.0-only
// Keeps a picture of the gateway current: an event stream says that something changed, a small
// request brings the change. When the gateway falls silent the picture says so, and heals itself.

import { api, ApiError, STREAM } from './api';
import type { Device, JournalEvent, Status, Verdict } from './types';

export interface Picture {
  live: boolean;
  /** Wall clock of the last good answer, 0: none yet. */
  at: number;
  status: Status | null;
  devices: Device[];
  /** On an address or a network. */
  verdicts: Verdict[];
  events: JournalEvent[];
}

export interface LiveOps {
  changed(p: Picture): void;
  happened(e: JournalEvent): void;
  loggedOut(): void;
}

const EVENTS_KEPT = 100;
const POLL_MS = 5_000;
const SETTLE_MS = 120; // a burst of events asks once

export function startLive(ops: LiveOps) {
  let p: Picture = { live: false, at: 0, status: null, devices: [], verdicts: [], events: [] };
  let stopped = false;
  let source: EventSource | null = null;
  let streamOpen = false;
  let answering = false;
  let asking = false;
  let again = false;
  let settle = 0;
  let retry = 0;
  let backoff = 1000;

  const publish = (part: Partial<Picture>) => {
    if (stopped) return;
    p = { ...p, ...part, live: streamOpen && answering };
    ops.changed(p);
  };

  const failed = (err: unknown) => {
    answering = false;
    if (err instanceof ApiError && err.status === 401) ops.loggedOut();
    else publish({});
  };

  async function refresh() {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    try {
      const [status, devices] = await Promise.all([api.status(), api.devices()]);
      const verdicts = status.isolation.verdicts ? await api.verdicts() : [];

      answering = true;
      publish({ status, devices, verdicts: verdicts.filter((v) => v.address), at: Date.now() });
    } catch (err) {
      failed(err);
    }
    asking = false;
    if (again && !stopped) {
      again = false;
      soon();
    }
  }

  function soon() {
    if (settle || stopped) return;
    settle = window.setTimeout(() => {
      settle = 0;
      void refresh();
    }, SETTLE_MS);
  }

  function add(list: JournalEvent[]) {
    const known = new Set(p.events.map((e) => e.id));
    const fresh = list.filter((e) => !known.has(e.id));

    if (fresh.length) {
      const events = [...fresh, ...p.events].sort((a, b) => b.id - a.id).slice(0, EVENTS_KEPT);
      publish({ events });
    }
    return fresh;
  }

  async function history() {
    try {
      add(await api.events(EVENTS_KEPT));
    } catch (err) {
      failed(err);
    }
  }

  function onMessage(m: MessageEvent) {
    let e: JournalEvent;

    try {
      e = JSON.parse(m.data);
    } catch {
      return;
    }
    for (const fresh of add([e])) ops.happened(fresh);
    soon();
  }

  function open() {
    const es = new EventSource(STREAM);

    source = es;
    es.onopen = () => {
      streamOpen = true;
      backoff = 1000;
      void refresh(); // what happened while nobody listened
      void history();
    };
    for (const name of ['message', 'presence', 'alert']) es.addEventListener(name, onMessage as EventListener);
    es.onerror = () => {
      streamOpen = false;
      es.close();
      if (source !== es || stopped) return;
      publish({});
      void refresh(); // tells a lost session from a lost gateway
      retry = window.setTimeout(open, backoff);
      backoff = Math.min(backoff * 2, 15_000);
    };
  }

  const poll = window.setInterval(() => {
    if (document.visibilityState === 'visible') soon();
  }, POLL_MS);
  const onVisible = () => document.visibilityState === 'visible' && soon();

  document.addEventListener('visibilitychange', onVisible);
  void refresh();
  open();

  return {
    refresh,
    stop() {
      stopped = true;
      source?.close();
      clearInterval(poll);
      clearTimeout(settle);
      clearTimeout(retry);
      document.removeEventListener('visibilitychange', onVisible);
    },
  };
}
