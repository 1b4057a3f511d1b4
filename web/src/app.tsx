// SPDX-License-Identifier: GPL-2.0-only
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { api, ApiError } from './api';
import { Devices } from './devices';
import { Events } from './events';
import { startLive, type Picture } from './live';
import { Login } from './login';
import { Glance, Ports, Uplink } from './overview';
import { PairButton } from './pairing';
import { eventText } from './text';
import type { Session } from './types';
import { Verdicts } from './verdicts';
import { Logo, NowContext, useClock } from './ui';

type Gate = { at: 'asking' } | { at: 'door'; setup: boolean; error: string } | { at: 'in'; session: Session };

export function App() {
  const [gate, setGate] = useState<Gate>({ at: 'asking' });

  const ask = useCallback(async () => {
    try {
      setGate({ at: 'in', session: await api.session() });
    } catch (err) {
      const e = err as ApiError;
      setGate({ at: 'door', setup: e.body?.setup === true, error: e.status === 401 ? '' : e.message });
    }
  }, []);

  useEffect(() => {
    void ask();
  }, []);

  if (gate.at === 'asking') return <p class="loading">Asking the gateway …</p>;
  if (gate.at === 'door') return <Login setup={gate.setup} error={gate.error} done={ask} />;
  return <House session={gate.session} leave={ask} />;
}

function House({ session, leave }: { session: Session; leave: () => Promise<void> }) {
  const [picture, setPicture] = useState<Picture | null>(null);
  const [said, setSaid] = useState('');
  const live = useRef<ReturnType<typeof startLive>>();
  const now = useClock();

  useEffect(() => {
    live.current = startLive({
      changed: setPicture,
      happened: (e) => {
        if (e.type === 'alert' && e.severity !== 'info') setSaid(eventText(e));
      },
      loggedOut: () => void leave(),
    });
    return () => live.current?.stop();
  }, []);

  const name = picture?.status?.gateway.name ?? 'Cordon';

  useEffect(() => {
    const waiting = picture?.status?.devices.pending ?? 0;
    document.title = `${waiting ? `(${waiting}) ` : ''}${name}`;
  }, [name, picture?.status?.devices.pending]);

  const logout = async () => {
    await api.logout().catch(() => undefined);
    await leave();
  };

  const ctx = {
    admin: session.role === 'admin',
    refresh: () => void live.current?.refresh(),
    say: setSaid,
  };

  return (
    <NowContext.Provider value={now}>
      <a class="skip" href="#devices">
        Skip to devices
      </a>
      <header class="bar">
        <Logo />
        <div class="bar-name">
          <h1>{name}</h1>
          <p>{picture?.status?.gateway.id ?? ' '}</p>
        </div>
        <LiveMark picture={picture} />
        <button type="button" class="quiet" onClick={() => void logout()}>
          Log out<span class="wide"> {session.user}</span>
        </button>
      </header>
      {picture && !picture.live && picture.at > 0 && (
        <p class="notlive" role="alert">
          <strong>Not live.</strong> The connection to the gateway is lost; what you see is from{' '}
          {new Date(picture.at).toLocaleTimeString()}. Trying again …
        </p>
      )}
      <main>
        {picture?.status ? (
          <>
            <Glance status={picture.status} lostAt={picture.live ? undefined : picture.at} />
            <div class="columns">
              <Devices devices={picture.devices} ctx={ctx} pair={ctx.admin ? <PairButton ctx={ctx} /> : null} />
              <div class="side">
                <Ports status={picture.status} ctx={ctx} />
                <Verdicts verdicts={picture.verdicts} ctx={ctx} />
                <Uplink status={picture.status} />
                <Events events={picture.events} />
              </div>
            </div>
          </>
        ) : (
          <p class="loading">{picture ? 'The gateway does not answer. Trying again …' : 'Asking the gateway …'}</p>
        )}
      </main>
      <footer>
        Cordon {picture?.status?.version ?? ''}
      </footer>
      <p class="unseen" role="status" aria-live="polite">
        {said}
      </p>
    </NowContext.Provider>
  );
}

function LiveMark({ picture }: { picture: Picture | null }) {
  const word = picture?.live ? 'Live' : picture?.at ? 'Not live' : 'Connecting';

  return (
    <span class={`live ${picture?.live ? 'yes' : 'no'}`} data-live={picture?.live ? 'yes' : 'no'}>
      {word}
    </span>
  );
}
