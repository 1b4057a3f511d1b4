// SPDX-License-Identifier: GPL-2.0-only
import { useEffect, useState } from 'preact/hooks';
import { api, ApiError } from './api';
import type { Pairing } from './types';
import { Dialog, Problem, useClock, type Ctx } from './ui';

const WINDOW_S = 300;

/** Opens a pairing window and shows its code until it ends. */
export function PairButton({ ctx }: { ctx: Ctx }) {
  const [open, setOpen] = useState(false);

  return (
    <>
      <button type="button" class="primary" onClick={() => setOpen(true)}>
        Add a device
      </button>
      {open && <PairDialog ctx={ctx} close={() => setOpen(false)} />}
    </>
  );
}

function PairDialog({ ctx, close }: { ctx: Ctx; close: () => void }) {
  const [window_, setWindow] = useState<Pairing | null>(null);
  const [error, setError] = useState('');
  const now = useClock(500);

  const start = async () => {
    setError('');
    try {
      setWindow(await api.pair(WINDOW_S));
      ctx.refresh();
    } catch (err) {
      setError((err as ApiError).message);
    }
  };
  const end = async () => {
    if (window_) await api.pairEnd().catch(() => undefined);
    ctx.refresh();
    close();
  };

  useEffect(() => {
    void start();
  }, []);

  const left = window_ ? Math.max(0, Math.round((Date.parse(window_.expires) - now) / 1000)) : 0;
  const over = window_ !== null && left === 0;

  return (
    <Dialog title="Add a device" close={() => void end()}>
      <p>Give this code to the new device. It gets its certificate at once, and its name here.</p>
      <Problem text={error} />
      {window_ && (
        <>
          <p class={`code ${over ? 'over' : ''}`} aria-label="Pairing code">
            {window_.code}
          </p>
          <p class="countdown">
            {over ? 'This code has ended.' : <>Open for another <span role="timer">{`${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`}</span></>}
          </p>
        </>
      )}
      <div class="actions">
        {(over || error) && (
          <button type="button" class="quiet" onClick={() => void start()}>
            New code
          </button>
        )}
        <button type="button" class="primary" onClick={() => void end()}>
          {over || error ? 'Close' : 'Done, close the window'}
        </button>
      </div>
    </Dialog>
  );
}
