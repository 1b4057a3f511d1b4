// SPDX-License-Identifier: GPL-2.0-only
// What the API sends; members are named and bounded by the daemon.

export interface Session {
  user: string;
  role: 'viewer' | 'admin';
}

export interface Port {
  name: string;
  ingress: 'native' | 'generic' | 'tc' | 'none';
  egress: 'tcx' | 'clsact' | 'none';
  dropped_packets: number;
  dropped_bytes: number;
  reason?: string;
  /** What could carry frames past the guard, and what is only worth knowing. */
  bypass: string[];
  notes: string[];
}

export interface Test {
  at: string;
  took_ms: number;
  passed: number;
  failed: number;
  skipped: number;
}

export interface Check {
  name: string;
  where: string;
  result: 'passed' | 'failed' | 'skipped';
  detail: string;
}

export interface TestReport extends Test {
  checks: Check[];
}

export interface Status {
  version: string;
  gateway: { id: string; name: string };
  uptime_s: number;
  devices: { known: number; online: number; pending: number; quarantined: number };
  uplink: {
    state: 'off' | 'connecting' | 'connected';
    broker: string;
    spooled_messages: number;
    spooled_bytes: number;
    in_flight: number;
    acknowledged: number;
    last_error: string | null;
  };
  isolation: { state: 'enforcing' | 'degraded' | 'off'; verdicts: number; interfaces: Port[]; test: Test | null };
}

export type Mode = 'isolate' | 'remediate' | 'observe';

export interface Verdict {
  mode: Mode;
  reason: string;
  by: string;
  since: string;
  until: string | null;
  dropped_packets: number;
  dropped_bytes: number;
  /** Not the whole device: only this address, or with all of this network. */
  address: string | null;
}

export interface Device {
  id: string;
  name: string;
  state: 'seen' | 'pending' | 'approved' | 'revoked';
  class: string;
  vendor: string;
  hostname: string;
  first_seen: string;
  last_seen: string | null;
  addresses: { mac: string[]; ipv4: string[]; ipv6: string[] };
  presence: { status: 'online' | 'offline' | 'asleep'; since: string | null; cause: string | null };
  quarantine: Verdict | null;
  traffic: { rx_packets: number; rx_bytes: number; tx_packets: number; tx_bytes: number };
}

export type Direction = 'from-device' | 'to-device';

export interface Rule {
  direction: Direction;
  protocol: number;
  family: 'ipv4' | 'ipv6' | 'both';
  device_ports: [number, number];
  peer_ports: [number, number];
  no_open: boolean;
  peers: { class?: string; name?: string; address?: string }[];
}

export interface Conversation {
  direction: Direction;
  protocol: number;
  peer: string;
  name: string | null;
  port: number;
  packets: number;
  bytes: number;
}

export interface Limit {
  packets_per_s: number;
  bytes_per_s: number;
}

export interface Profile {
  state: 'off' | 'learning' | 'reporting' | 'enforcing';
  until: string | null;
  learning: boolean;
  problem: string | null;
  rules: Rule[];
  notes: string[];
  limits: Limit;
  suggested: Limit;
  learned: { missed: number; conversations: Conversation[] };
}

export interface JournalEvent {
  id: number;
  type: 'presence' | 'alert';
  at: string;
  device?: string;
  /* presence */
  action?: string;
  cause?: string;
  status?: string;
  /* alert */
  severity?: 'info' | 'warning' | 'critical';
  kind?: string;
  text?: string;
}

export interface Pairing {
  code: string;
  expires: string;
}
