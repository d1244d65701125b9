// Small pieces that every page uses.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { ApiError, signIn } from './api';
import { ago, clock, stamp } from './format';

// State is a shape, a word and a colour; none of them alone.
const states: Record<string, [string, string, string]> = {
  ok: ['good', '✓', 'within budget'],
  firing: ['bad', '▲', 'burning'],
  pending: ['warn', '◆', 'pending'],
  resolved: ['good', '✓', 'resolved'],
  no_data: ['unknown', '▨', 'no data'],
  insufficient: ['unknown', '▨', 'insufficient coverage'],
  spent: ['bad', '■', 'budget spent'],
  starting: ['unknown', '▨', 'starting'],
  fresh: ['good', '✓', 'fresh'],
  late: ['warn', '◆', 'late'],
  silent: ['bad', '▲', 'silent'],
};
export function State({ of, word }: { of: string; word?: string }) {
  const [kind, mark, text] = states[of] ?? ['unknown', '▨', of.replaceAll('_', ' ')];
  return <span class={`state ${kind}`}><span class="mark" aria-hidden="true">{mark}</span> {word ?? text}</span>;
}

export function When({ ms, now }: { ms: number; now: number }) {
  return <time dateTime={new Date(ms).toISOString()} title={stamp(ms)}>{clock(ms, true)} <span class="quiet">({ago(ms, now)})</span></time>;
}

export interface Column<T> {
  head: string;
  cell: (row: T) => ComponentChildren;
  number?: boolean;
  sort?: (row: T) => number | string;
  hint?: string;
}
// Sortable by its heads; rows that open something carry a link in their first cell; on a phone each row is a card.
export function Table<T>({ name, rows, columns, id, open, chosen, empty }: {
  name: string; rows: T[]; columns: Column<T>[]; id: (row: T) => string; open?: (row: T) => string; chosen?: (row: T) => boolean; empty?: string;
}) {
  const [by, setBy] = useState<{ at: number; down: boolean } | null>(null);
  const sort = by && columns[by.at].sort;
  const shown = sort ? [...rows].sort((a, b) => {
    const x = sort(a), y = sort(b);
    return (x < y ? -1 : x > y ? 1 : 0) * (by.down ? -1 : 1);
  }) : rows;
  if (!rows.length) return <p class="quiet">{empty ?? 'nothing'}</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={name}>
      <table>
        <caption class="out">{name}</caption>
        <thead>
          <tr>
            {columns.map((c, i) => (
              <th scope="col" class={c.number ? 'n' : ''} title={c.hint} aria-sort={by?.at === i ? (by.down ? 'descending' : 'ascending') : undefined}>
                {c.sort ? <button type="button" onClick={() => setBy({ at: i, down: by?.at === i ? !by.down : !!c.number })}>{c.head}{by?.at === i ? (by.down ? ' ↓' : ' ↑') : ''}</button> : c.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={id(row)} class={chosen?.(row) ? 'chosen' : ''} {...(open ? { 'data-row': id(row) } : {})}>
              {columns.map((c, i) => (
                <td class={c.number ? 'n' : ''} data-head={c.head}>
                  {i === 0 && open ? <a class="rowlink" href={open(row)} aria-current={chosen?.(row) ? 'true' : undefined}>{c.cell(row)}</a> : c.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

// What happened, what it means, what to do.
export function Trouble({ error, at, now }: { error: ApiError; at: number; now: number }) {
  if (error.status === 0)
    return (
      <p class="notice bad" role="status">
        <b>▲ Telltale does not answer.</b>{' '}
        {at ? <>Everything below is as it was at {clock(at, true)} ({ago(at, now)}). </> : null}
        This page tries again by itself. If it stays so, look whether the process runs and what its log says last; senders keep their data and retry meanwhile.
      </p>
    );
  return (
    <p class="notice bad" role="status">
      <b>▲ The server answered with an error ({error.status}).</b> {error.message}{' '}
      {at ? <>What is below is from {clock(at, true)}.</> : null}
    </p>
  );
}

export function SignIn({ done }: { done: () => void }) {
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const submit = async (e: Event) => {
    e.preventDefault();
    const key = new FormData(e.currentTarget as HTMLFormElement).get('key') as string;
    setBusy(true);
    try {
      await signIn(key.trim());
      done();
    } catch (err) {
      setError(err instanceof ApiError && err.status ? err.message : 'Telltale does not answer; try again.');
    }
    setBusy(false);
  };
  return (
    <main class="narrow" id="main">
      <h1>This Telltale asks for a key</h1>
      <p>It can be reached from other machines. Give a read or admin key; this browser then stays signed in for a week.</p>
      <form onSubmit={submit} class="signin">
        <label for="key">Key</label>
        <input id="key" name="key" type="password" autocomplete="current-password" required autofocus spellcheck={false} placeholder="tta_…" />
        <button type="submit" disabled={busy}>Sign in</button>
      </form>
      {error && <p class="notice bad" role="alert"><b>▲</b> {error}</p>}
      <p class="quiet">No key at hand? On the server: <code>telltale key create --role read</code></p>
    </main>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = () => navigator.clipboard.writeText(text).then(() => {
    setDone(true);
    setTimeout(() => setDone(false), 2000);
  }, () => setDone(false));
  return <button type="button" class="copy" onClick={copy}>{done ? 'copied' : label}</button>;
}
