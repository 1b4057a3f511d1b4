// SPDX-License-Identifier: GPL-2.0-only
// Figures and causes in words. Pure functions.

import type { Device, JournalEvent, Limit, Port, Profile } from './types';

const CAUSES: Record<string, string> = {
  connect: 'connected',
  left: 'said goodbye',
  reset: 'connection broke',
  keepalive: 'stopped answering',
  missed: 'missed its heartbeats',
  unplugged: 'unplugged',
  asleep: 'asleep, as it said',
  quarantined: 'quarantined',
  revoked: 'certificate revoked',
  diverted: 'alive on the wire, silent here',
  outage: 'part of an outage',
  shutdown: 'gateway was stopped',
};

export const cause = (c: string | null | undefined) => (c ? (CAUSES[c] ?? c) : '');

export const STATES: Record<Device['state'], string> = {
  seen: 'Seen',
  pending: 'Waiting for approval',
  approved: 'Approved',
  revoked: 'Revoked',
};

export const PRESENCE = { online: 'Online', offline: 'Offline', asleep: 'Asleep' };

export const MODES = { isolate: 'Isolated', remediate: 'Repairs only', observe: 'Observed' };

/** A verdict that only observes cuts nothing off. */
export const isCut = (d: Device) => d.quarantine !== null && d.quarantine.mode !== 'observe';

export const PROFILES: Record<Profile['state'], string> = {
  off: 'Off: everything passes',
  learning: 'Learning',
  reporting: 'Departures are reported',
  enforcing: 'Enforced: departures are dropped',
};

const PROTOCOLS: Record<number, string> = { 0: 'any', 1: 'ICMP', 2: 'IGMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6' };

export const protocol = (n: number) => PROTOCOLS[n] ?? `${n}`;

/** '' where there is none. */
export function limitText(l: Limit): string {
  const parts = [];

  if (l.packets_per_s) parts.push(`${count(l.packets_per_s)} packets/s`);
  if (l.bytes_per_s) parts.push(`${bytes(l.bytes_per_s)}/s`);
  return parts.join(', ');
}

export const titleOf = (d: Device) => d.name || d.hostname || d.id;

export function count(n: number): string {
  return n.toLocaleString('en-US');
}

export function plural(n: number, one: string, many = one + 's'): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;

  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));

  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return plural(Math.floor(s / 86400), 'day');
}

export function ago(at: string, now: number): string {
  const s = (now - Date.parse(at)) / 1000;

  return s < 5 ? 'just now' : `${span(s)} ago`;
}

export function clock(at: string, now: number): string {
  const d = new Date(at);
  const time = d.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

  return new Date(now).toDateString() === d.toDateString()
    ? time
    : `${d.toLocaleDateString(undefined, { day: 'numeric', month: 'short' })} ${time}`;
}

/** How a port is guarded, in words for a person. */
export function guard(p: Port): { word: string; detail: string; good: boolean } {
  const inward = {
    native: 'driver (XDP)',
    generic: 'generic XDP',
    tc: 'traffic control',
    none: 'nothing',
  }[p.ingress];
  const outward = { tcx: 'tcx', clsact: 'clsact', none: 'nothing' }[p.egress];
  const good = p.ingress !== 'none' && p.egress !== 'none';

  return {
    word: good ? 'Guarded' : p.ingress === 'none' && p.egress === 'none' ? 'Open' : 'Half open',
    detail: `in: ${inward}, out: ${outward}`,
    good,
  };
}

const ACTIONS: Record<string, string> = {
  join: 'came online',
  leave: 'went offline',
  timeout: 'went silent',
  'state-change': 'changed its state',
  interval: 'is present',
};

export function eventText(e: JournalEvent): string {
  if (e.type === 'alert') return e.text ?? e.kind ?? 'Alert';
  const why = e.action === 'join' || e.action === 'state-change' ? '' : cause(e.cause);
  return `${e.device ?? 'A device'} ${ACTIONS[e.action ?? ''] ?? e.action ?? ''}${why ? `: ${why}` : ''}`;
}
