// SPDX-License-Identifier: GPL-2.0-only
// Verdicts on addresses and networks, which no device's card need show.

import { useState } from 'preact/hooks';
import { api } from './api';
import { MODES } from './text';
import type { Verdict } from './types';
import { Problem, When, type Ctx } from './ui';

const SHOWN = 20;

export function Verdicts({ verdicts, ctx }: { verdicts: Verdict[]; ctx: Ctx }) {
  if (verdicts.length === 0) return null;
  return (
    <section class="card" aria-labelledby="verdicts-title">
      <div class="card-head">
        <h2 id="verdicts-title">Addresses in quarantine</h2>
      </div>
      <ul class="verdicts">
        {verdicts.slice(0, SHOWN).map((v) => (
          <Row key={v.address} verdict={v} ctx={ctx} />
        ))}
      </ul>
      {verdicts.length > SHOWN && (
        <p class="sub">
          There are more: <span class="mono">cordon verdicts</span> lists all.
        </p>
      )}
    </section>
  );
}

function Row({ verdict: v, ctx }: { verdict: Verdict; ctx: Ctx }) {
  const [error, setError] = useState('');

  const release = async () => {
    setError('');
    try {
      await api.releaseAddress(v.address!);
      ctx.say(`${v.address} is released.`);
    } catch (err) {
      setError((err as Error).message);
    }
    ctx.refresh();
  };

  return (
    <li data-address={v.address}>
      <span>
        <span class="mono">{v.address}</span> {(MODES[v.mode] ?? v.mode).toLowerCase()} by {v.by}
        {v.until && (
          <>
            {' '}
            until <When at={v.until} />
          </>
        )}
        {v.reason && <>: {v.reason}</>}
      </span>
      {ctx.admin && (
        <button type="button" class="quiet" onClick={() => void release()}>
          Release<span class="unseen"> {v.address}</span>
        </button>
      )}
      <Problem text={error} />
    </li>
  );
}
