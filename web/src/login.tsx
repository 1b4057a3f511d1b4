// SPDX-License-Identifier: GPL-2.0-only
import { useEffect, useRef, useState } from 'preact/hooks';
import { api, ApiError } from './api';
import { Logo, Problem } from './ui';

interface Props {
  /** No password exists yet: ask for the one-time code instead. */
  setup: boolean;
  error: string;
  done(): Promise<void>;
}

export function Login({ setup, error: first, done }: Props) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(first);
  const field = useRef<HTMLInputElement>(null);

  useEffect(() => {
    document.title = setup ? 'Set up Cordon' : 'Log in · Cordon';
    field.current?.focus();
  }, [setup]);

  async function submit(e: Event) {
    e.preventDefault();
    if (busy) return;
    const form = new FormData(e.target as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? '');

    if (setup && text('password') !== text('again')) {
      setError('The two passwords differ.');
      return;
    }
    setBusy(true);
    setError('');
    try {
      if (setup) await api.setup(text('code').trim(), text('password'));
      else await api.login(text('user'), text('password'));
      await done();
    } catch (err) {
      setError((err as ApiError).message);
      field.current?.focus();
    }
    setBusy(false);
  }

  return (
    <main class="door">
      <form class="card" onSubmit={(e) => void submit(e)}>
        <div class="door-name">
          <Logo />
          <h1>{setup ? 'Set up this gateway' : 'Cordon'}</h1>
        </div>
        {setup ? <SetupFields first={field} /> : <LoginFields first={field} />}
        <Problem text={error} />
        <button type="submit" class="primary" aria-disabled={busy}>
          {busy ? 'One moment …' : setup ? 'Set password and log in' : 'Log in'}
        </button>
      </form>
    </main>
  );
}

type First = { first: { current: HTMLInputElement | null } };

function SetupFields({ first }: First) {
  return (
    <>
      <p>
        Nobody has a password here yet. On the gateway, <code>cordon setup-code</code> prints a
        one-time code; with it you choose the password of <strong>admin</strong>.
      </p>
      <label>
        One-time code
        <input ref={first} name="code" autocomplete="one-time-code" autocapitalize="characters" spellcheck={false} required class="mono" />
      </label>
      <input class="unseen" name="user" value="admin" autocomplete="username" readOnly tabIndex={-1} aria-hidden="true" />
      <label>
        New password <span class="hint">(8 characters or more)</span>
        <input name="password" type="password" autocomplete="new-password" minLength={8} required />
      </label>
      <label>
        The same again
        <input name="again" type="password" autocomplete="new-password" minLength={8} required />
      </label>
    </>
  );
}

function LoginFields({ first }: First) {
  return (
    <>
      <label>
        User
        <input ref={first} name="user" autocomplete="username" autocapitalize="none" spellcheck={false} required />
      </label>
      <label>
        Password
        <input name="password" type="password" autocomplete="current-password" required />
      </label>
    </>
  );
}
