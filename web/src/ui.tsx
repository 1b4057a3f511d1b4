// SPDX-License-Identifier: GPL-2.0-only
// Small parts that several others use.

import { createContext, type ComponentChildren } from 'preact';
import { useContext, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError } from './api';
import { ago, clock } from './text';

/** What a part may do beyond showing. */
export interface Ctx {
  admin: boolean;
  refresh(): void;
  /** Said to screen readers, once. */
  say(text: string): void;
}

export const NowContext = createContext(Date.now());

/** The time, every few seconds, so that "3 min ago" stays true. */
export function useClock(everyMs = 5000): number {
  const [now, setNow] = useState(Date.now());

  useEffect(() => {
    const t = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(t);
  }, [everyMs]);
  return now;
}

export function Ago({ at }: { at: string }) {
  const now = useContext(NowContext);

  return (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {ago(at, Math.max(now, Date.parse(at)))}
    </time>
  );
}

/** A point in time: the hour today, with the day otherwise. */
export function When({ at }: { at: string }) {
  const now = useContext(NowContext);

  return (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {clock(at, now)}
    </time>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" width="34" height="34" aria-hidden="true">
      <path class="logo-shield" d="M16 2.5 27 6.4v9.1c0 6.6-4.4 11.6-11 14-6.6-2.4-11-7.4-11-14V6.4z" />
      <circle class="logo-line" cx="16" cy="16" r="6.2" stroke-dasharray="14.4 5" stroke-dashoffset="-2.5" />
      <path class="logo-line" d="M10.2 16h4.1m3.4 0h4.1" />
    </svg>
  );
}

interface DialogProps {
  title: string;
  children: ComponentChildren;
  close(): void;
}

/** A modal dialog: the browser keeps the focus inside and Escape closes it; focus returns after. */
export function Dialog({ title, children, close }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const dialog = ref.current!;

    dialog.showModal();
    return () => {
      if (dialog.open) dialog.close();
      if (before?.isConnected) before.focus();
      else document.getElementById('devices')?.focus();
    };
  }, []);

  return (
    <dialog
      ref={ref}
      aria-labelledby="dialog-title"
      onCancel={(e) => {
        e.preventDefault();
        close();
      }}
      onClick={(e) => e.target === ref.current && close()}
    >
      <div class="dialog">
        <h2 id="dialog-title">{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

interface ActionFormProps {
  children: ComponentChildren;
  /** The word on the button that does it. */
  verb: string;
  danger?: boolean;
  cancel(): void;
  act(form: FormData): Promise<unknown>;
}

/** A form whose failure is shown in place, in the gateway's own words. */
export function ActionForm({ children, verb, danger, cancel, act }: ActionFormProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');

  async function submit(e: SubmitEvent) {
    e.preventDefault();
    if (busy) return;
    setBusy(true);
    setError('');
    try {
      await act(new FormData(e.target as HTMLFormElement));
    } catch (err) {
      setError((err as ApiError).message);
    }
    setBusy(false);
  }

  return (
    <form onSubmit={(e) => void submit(e as unknown as SubmitEvent)}>
      {children}
      <Problem text={error} />
      <div class="actions">
        <button type="button" class="quiet" onClick={cancel}>
          Cancel
        </button>
        <button type="submit" class={danger ? 'danger' : 'primary'} aria-disabled={busy}>
          {busy ? 'One moment …' : verb}
        </button>
      </div>
    </form>
  );
}

export function Problem({ text }: { text: string }) {
  return (
    <p class="problem" role="alert" hidden={!text}>
      {text}
    </p>
  );
}
