// The frame: which page, the search, the theme and the keyboard.
import './style.css';
import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { signOut, type Oncall } from './api';
import { CostsPage } from './costs';
import { GroundingPage } from './grounding';
import { useAnswer, useNow } from './live';
import { apiPath, OncallPage, Range } from './oncall';
import { SignIn } from './parts';
import { SessionPage, SessionsPage } from './session';
import { TracePage } from './trace';
import { TracesPage } from './traces';
import { change, follow, go, href, usePlace } from './url';
import { keys, words } from './words';

type Theme = 'system' | 'light' | 'dark';
function setTheme(t: Theme): void {
  if (t === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = t;
  try { localStorage.setItem('theme', t); } catch { /* private window: the choice lasts as long as the page */ }
  document.dispatchEvent(new Event('theme'));
}
const savedTheme = (): Theme => {
  try { return (localStorage.getItem('theme') as Theme) ?? 'system'; } catch { return 'system'; }
};
setTheme(savedTheme());
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => document.dispatchEvent(new Event('theme')));
const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';

// Rows are links: j and k move the focus from one to the next.
function moveRow(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>('tr[data-row] a.rowlink, a[data-row]')].filter((e) => e.offsetParent);
  if (!rows.length) return;
  const at = rows.findIndex((e) => e === document.activeElement);
  rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by))].focus();
}

function shift(part: number, zoom: number): void {
  const params = new URLSearchParams(location.search);
  const range = Number(params.get('range') ?? 60);
  const now = Math.ceil(Date.now() / 60000) * 60000;
  const to = Number(params.get('to') ?? 0) || now;
  const next = Math.min(43200, Math.max(5, Math.round(range * zoom)));
  const end = to + part * range * 60000 - (zoom === 1 ? 0 : ((range - next) * 60000) / 2);
  const whole = Math.round(end / 60000) * 60000;
  change({ range: next, to: whole >= now || (zoom !== 1 && !params.get('to')) ? undefined : whole });
}

function copyLink(): void {
  const url = new URL(location.href);
  if (url.pathname === '/oncall' && !url.searchParams.get('to')) {
    url.searchParams.set('range', url.searchParams.get('range') ?? '60');
    url.searchParams.set('to', String(Math.ceil(Date.now() / 60000) * 60000)); // a link opened tomorrow shows today
  }
  void navigator.clipboard?.writeText(url.href).then(() => document.dispatchEvent(new CustomEvent('said', { detail: 'link copied' })), () => {});
}

function Help({ close }: { close: () => void }) {
  const panel = useRef<HTMLElement>(null);
  useEffect(() => panel.current?.focus(), []);
  return (
    <aside class="help" ref={panel} tabIndex={-1} aria-label="keys and words">
      <button type="button" onClick={close}>close</button>
      <h2>Keys</h2>
      <dl>{keys.map(([k, what]) => <div><dt><kbd>{k}</kbd></dt><dd>{what}</dd></div>)}</dl>
      <h2>Words</h2>
      <dl class="words">{words.map(([k, what]) => <div><dt>{k}</dt><dd>{what}</dd></div>)}</dl>
    </aside>
  );
}

function Search({ data }: { data: Oncall | null }) {
  const [text, set] = useState('');
  const q = text.trim().toLowerCase();
  const found: { what: string; name: string; to: string }[] = [];
  if (/^[0-9a-f]{32}$/.test(q)) found.push({ what: 'trace', name: q, to: `/trace/${q}` });
  else if (q) {
    for (const s of data?.slos ?? []) if (s.name.toLowerCase().includes(q)) found.push({ what: 'objective', name: s.name, to: href('/oncall', { slo: s.id }) });
    for (const s of data?.services ?? []) if (s.toLowerCase().includes(q)) found.push({ what: 'service', name: s, to: href('/oncall', { service: s }) });
    for (const m of data?.model_names ?? []) if (m.toLowerCase().includes(q)) found.push({ what: 'model', name: m, to: href('/oncall', { model: m }) });
    found.push({ what: 'traces where', name: text.includes('=') ? text : `service=${text}`, to: text.includes('=') ? href('/traces', { tag: text }) : href('/traces', { service: text.trim() }) });
  }
  const open = (to: string) => {
    set('');
    (document.activeElement as HTMLElement | null)?.blur();
    go(to);
  };
  return (
    <form class="search" role="search" onSubmit={(e) => { e.preventDefault(); if (found[0]) open(found[0].to); }}>
      <input id="search" type="search" value={text} onInput={(e) => set((e.target as HTMLInputElement).value)} placeholder="search: service, model, trace id, key=value" aria-label="search" autocomplete="off" spellcheck={false} />
      {found.length > 0 && <ul class="found">{found.slice(0, 8).map((x) => <li><a href={x.to} onClick={() => set('')}><span class="quiet">{x.what}</span> {x.name}</a></li>)}</ul>}
    </form>
  );
}

function decoded(text: string): string {
  try { return decodeURIComponent(text); } catch { return text; }
}

const titles = { costs: 'Costs', grounding: 'Grounding', oncall: 'On-call', traces: 'Traces', trace: 'Trace', sessions: 'Sessions', session: 'Session' };

function App() {
  const { path, params } = usePlace();
  const [help, setHelp] = useState(false);
  const [dark, setDark] = useState(isDark());
  const [said, setSaid] = useState('');
  const page = path.startsWith('/trace/') ? 'trace' : path.startsWith('/session/') ? 'session' : path === '/sessions' ? 'sessions' : path === '/traces' ? 'traces' : path === '/costs' ? 'costs' : path === '/grounding' ? 'grounding' : 'oncall';
  const live = !params.get('to');
  const answer = useAnswer<Oncall>(page === 'oncall' ? apiPath(params) : 'oncall?range=60', live && page === 'oncall');
  const now = useNow(10000);

  const afterG = useRef(false);
  useEffect(() => {
    const press = (e: KeyboardEvent) => {
      const target = e.target as HTMLElement;
      const typing = target.matches?.('input, textarea, select');
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === 'Escape') {
        if (typing) target.blur();
        else if (document.querySelector('.help')) setHelp(false);
        else if (location.pathname !== '/oncall') history.length > 1 ? history.back() : go('/oncall');
        else if (/[?&](service|model)=/.test(location.search)) change({ service: undefined, model: undefined });
        return;
      }
      if (typing) return;
      const actions: Record<string, () => void> = {
        '?': () => setHelp((h) => !h), '/': () => document.getElementById('search')?.focus(), j: () => moveRow(1), k: () => moveRow(-1),
        '[': () => shift(-0.5, 1), ']': () => shift(0.5, 1), '+': () => shift(0, 0.5), '=': () => shift(0, 0.5), '-': () => shift(0, 2),
        l: () => change({ to: undefined }), y: copyLink, t: () => setTheme(isDark() ? 'light' : 'dark'),
      };
      if (afterG.current) {
        afterG.current = false;
        if (e.key === 'o') return void (e.preventDefault(), go('/oncall'));
        if (e.key === 't') return void (e.preventDefault(), go('/traces'));
        if (e.key === 's') return void (e.preventDefault(), go('/sessions'));
        if (e.key === 'c') return void (e.preventDefault(), go('/costs'));
        if (e.key === 'h') return void (e.preventDefault(), go('/grounding'));
      }
      if (e.key === 'g') {
        afterG.current = true;
        setTimeout(() => (afterG.current = false), 1500);
        return;
      }
      if (actions[e.key]) {
        e.preventDefault();
        actions[e.key]();
      }
    };
    const theme = () => setDark(isDark());
    const say = (e: Event) => {
      setSaid((e as CustomEvent<string>).detail);
      setTimeout(() => setSaid(''), 2500);
    };
    document.addEventListener('keydown', press);
    document.addEventListener('click', follow);
    document.addEventListener('theme', theme);
    document.addEventListener('said', say);
    return () => {
      document.removeEventListener('keydown', press);
      document.removeEventListener('click', follow);
      document.removeEventListener('theme', theme);
      document.removeEventListener('said', say);
    };
  }, []); // everything is read when a key is pressed, so that a quick hand meets no stale state

  const burning = answer.data?.headline.burning ?? 0;
  useEffect(() => {
    document.title = `${burning ? `▲ ${burning} burning · ` : ''}${titles[page]} · Telltale`;
  }, [burning, page]);

  if (answer.error?.status === 401) return <SignIn done={answer.again} />;
  return (
    <>
      <a class="skip" href="#main">to the content</a>
      <header>
        <a class="brand" href="/oncall">Telltale</a>
        <nav aria-label="pages">
          <a href="/oncall" aria-current={page === 'oncall' ? 'page' : undefined}>On-call</a>
          <a href="/traces" aria-current={page.startsWith('trace') ? 'page' : undefined}>Traces</a>
          <a href="/sessions" aria-current={page.startsWith('session') ? 'page' : undefined}>Sessions</a>
          <a href="/costs" aria-current={page === 'costs' ? 'page' : undefined}>Costs</a>
          <a href="/grounding" aria-current={page === 'grounding' ? 'page' : undefined}>Grounding</a>
        </nav>
        <Search data={answer.data} />
        {page === 'oncall' && <Range params={params} live={live} now={answer.at || now} />}
        <span class="said" role="status">{said}</span>
        <span class="tools">
          <button type="button" onClick={() => setTheme(dark ? 'light' : 'dark')} aria-label={dark ? 'light theme' : 'dark theme'}>{dark ? '☀' : '☾'}</button>
          <button type="button" onClick={() => setHelp(!help)} aria-label="keys and words" aria-expanded={help}>?</button>
          {answer.data?.address.needs_key && <button type="button" onClick={() => signOut().then(answer.again)}>sign out</button>}
        </span>
      </header>
      {help && <Help close={() => setHelp(false)} />}
      {page === 'oncall' ? <OncallPage params={params} answer={answer} /> : page === 'traces' ? <TracesPage params={params} /> : page === 'costs' ? <CostsPage params={params} /> : page === 'grounding' ? <GroundingPage params={params} /> : page === 'sessions' ? <SessionsPage params={params} />
        : page === 'session' ? <SessionPage id={decoded(path.slice('/session/'.length))} params={params} /> : <TracePage id={path.slice('/trace/'.length)} params={params} />}
    </>
  );
}

render(<App />, document.getElementById('app')!);
