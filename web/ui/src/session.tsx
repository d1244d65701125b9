// Sessions of agents and coding CLIs: a list of them, and one with the growth of its context, its turns, and what was done in each.
import type { Session, SessionLine, Step, Sums } from './api';
import * as f from './format';
import { useAnswer, useNow } from './live';
import { Copy, Table, Trouble, When, type Column } from './parts';
import { href } from './url';

const STEPS = 300; // shown at once
const TURN_MARKS = 40; // more boundaries than that say nothing

const place = (id: string) => `/session/${encodeURIComponent(id)}`;

function Tools({ of }: { of: Sums }) {
  if (!of.tools) return <>–</>;
  const bad = (['error', 'rejected', 'aborted', 'timeout'] as const).filter((k) => of.tools_by[k]);
  return <>{f.exact(of.tools)}{bad.length > 0 && <span class="quiet"> ({bad.map((k) => `${of.tools_by[k]} ${k}`).join(', ')})</span>}</>;
}

const Failed = ({ n }: { n: number }) => (n ? <span class="mark-text bad"> ▲ {f.exact(n)} failed</span> : null);
const cost = (s: Sums) => f.usd(s.cost_nanousd) + (s.unpriced ? ' +' : '');
const compactions = (n: number) => `${f.exact(n)} ${n === 1 ? 'compaction' : 'compactions'}`;
const tokens = (s: Sums) => `${f.exact(s.input_tokens)} / ${f.exact(s.output_tokens)}`;

function sumColumns<T extends Sums>(): Column<T>[] {
  return [
    { head: 'calls', number: true, cell: (s) => <>{f.exact(s.calls)}<Failed n={s.failed_calls} /></>, sort: (s) => s.calls },
    { head: 'tools', number: true, cell: (s) => <Tools of={s} />, sort: (s) => s.tools },
    { head: 'context', number: true, hint: 'input tokens, cache included, of the newest call of the main line', cell: (s) => (s.context_tokens === null ? '–' : f.exact(s.context_tokens)), sort: (s) => s.context_tokens ?? -1 },
    { head: 'tokens in / out', number: true, cell: tokens, sort: (s) => s.input_tokens + s.output_tokens },
    { head: 'cost', number: true, hint: 'with + where calls have no known price', cell: cost, sort: (s) => s.cost_nanousd },
  ];
}

export function SessionsPage({ params }: { params: URLSearchParams }) {
  const now = useNow(5000);
  const by = params.get('by') ?? 'recent', service = params.get('service') ?? '';
  const { data, error, at, asking } = useAnswer<{ sessions: SessionLine[]; complete: boolean }>(href('sessions', { by, service, from: params.get('from') ?? '', to: params.get('to') ?? '', limit: 100 }), !params.get('to'));
  const columns: Column<SessionLine>[] = [
    { head: 'session', cell: (s) => <><b class="mono">{s.id}</b> <span class="quiet">{s.service}</span></>, sort: (s) => s.id },
    { head: 'last seen', cell: (s) => <When ms={s.end_ms} now={now} />, sort: (s) => s.end_ms },
    { head: 'turns', number: true, cell: (s) => f.exact(s.turns), sort: (s) => s.turns },
    ...sumColumns<SessionLine>(),
    { head: 'model', cell: (s) => s.model || '–', sort: (s) => s.model },
  ];
  return (
    <main id="main" class={error && at ? 'stale' : ''}>
      <h1>Sessions</h1>
      <nav class="order" aria-label="order">
        {(['recent', 'cost', 'tokens'] as const).map((o) => <a href={href('/sessions', { by: o, service })} aria-current={o === by ? 'true' : undefined}>{o === 'recent' ? 'newest first' : `most ${o}`}</a>)}
        {service && <span class="current">of {service} <a href={href('/sessions', { by })}>all</a></span>}
      </nav>
      {error && <Trouble error={error} at={at} now={now} />}
      {data && !data.complete && <p class="notice warn" role="status">The stretch holds more than one answer reads: older sessions are missing, and the oldest shown may lack their beginning. Ask for a shorter one.</p>}
      {data ? <Table name="sessions found" rows={data.sessions} columns={columns} id={(s) => s.id} open={(s) => place(s.id)} empty="No agent or coding CLI has named a session in the last day. docs/agents.md has the lines to paste for each." />
        : asking && <p class="quiet">Asking…</p>}
    </main>
  );
}

/* --- one session ---------------------------------------------------------------------------------- */

// How full the context was at each call of the main line. Calls stand side by side, since the time between them is mostly a person's.
function Growth({ data }: { data: Session }) {
  const calls = data.steps.filter((s) => s.kind === 'call' && (s.lane === 'main' || s.lane === '') && s.input_tokens !== null && s.input_tokens > 0);
  if (calls.length < 2) return null;
  const top = Math.max(...calls.map((c) => c.input_tokens!));
  const x = (i: number) => (i / calls.length) * 1000, y = (v: number) => 200 - (v / top) * 190;
  let line = `M0 ${y(calls[0].input_tokens!)}`, cached = `M0 200L0 ${y(calls[0].cache_read_tokens ?? 0)}`;
  calls.forEach((c, i) => {
    if (i) line += `H${x(i)}V${y(c.input_tokens!)}`;
    if (i) cached += `H${x(i)}V${y(c.cache_read_tokens ?? 0)}`;
  });
  line += 'H1000';
  cached += 'H1000';
  const after = (t: number) => calls.findIndex((c) => c.start_ms >= t);
  const marks = data.steps.filter((s) => s.kind === 'compaction').map((s) => ({ at: after(s.start_ms), s })).map((m) => ({ ...m, at: m.at < 0 ? calls.length : m.at }));
  const turns = calls.map((c, i) => (i && c.turn !== calls[i - 1].turn ? i : -1)).filter((i) => i > 0);
  const last = calls[calls.length - 1].input_tokens!;
  const words = `context of ${calls.length} calls of the main line: from ${f.exact(calls[0].input_tokens!)} to ${f.exact(last)} tokens, at most ${f.exact(top)}, ${compactions(marks.length)}`;
  return (
    <section class="growth" aria-label="context growth">
      <h2>Context</h2>
      <p class="quiet small">Input tokens of each call of the main line, cache included; the pale part was read from cache. Dashed: a compaction. Thin: a new turn.</p>
      <div class="plot-box">
        <span class="top-label">{f.count(top)} tok</span>
        <svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" aria-label={words}>
          <path class="cached" d={`${cached}V200Z`} />
          {turns.length <= TURN_MARKS && turns.map((i) => <path class="turn" d={`M${x(i)} 0V200`} />)}
          {marks.map((m) => <path class="compaction" d={`M${x(m.at)} 0V200`} />)}
          <path class="line" d={line} />
        </svg>
        <span class="base-label"><span>call 1</span><span>call {calls.length}: {f.count(last)} tok</span></span>
      </div>
    </section>
  );
}

const marks: Record<Step['kind'], string> = { call: '●', tool: '⚒', prompt: '›', compaction: '▼', connection: '⇄', handoff: '→' };
const fine = ['', 'ok', 'blocked', 'cancelled', 'connected'];

function stepWords(s: Step): string {
  if (s.kind === 'prompt') return 'prompt';
  if (s.kind === 'compaction') return `compaction, ${s.word}: ${s.input_tokens === null ? '?' : f.exact(s.input_tokens)} → ${s.output_tokens === null ? '?' : f.exact(s.output_tokens)} tokens`;
  if (s.kind === 'connection') return `MCP server ${s.name || 'unnamed'} ${s.word}`;
  if (s.kind === 'handoff') return `handoff ${s.name}`;
  return s.name || (s.kind === 'call' ? 'no model named' : 'unnamed tool');
}

function stepColumns(start: number): Column<Step>[] {
  const noTrace = /^0*$/;
  return [
    { head: 'what', cell: (s) => <><span class="mark" aria-hidden="true">{marks[s.kind]}</span> {stepWords(s)}{s.agent && <span class="quiet"> {s.agent}</span>}{s.lane && s.lane !== 'main' && <span class="quiet"> {s.lane}</span>}</> },
    { head: 'after', number: true, cell: (s) => f.seconds(Math.max(0, s.start_ms - start) / 1000), sort: (s) => s.start_ms },
    { head: 'took', number: true, cell: (s) => f.nanos(s.duration_ns), sort: (s) => s.duration_ns ?? -1 },
    { head: 'result', cell: (s) => (s.outcome ? (fine.includes(s.outcome) ? s.outcome : <span class="state bad"><span class="mark" aria-hidden="true">▲</span> {s.outcome.replaceAll('_', ' ')}</span>) : '–'), sort: (s) => s.outcome },
    { head: 'tokens in / out', number: true, cell: (s) => (s.kind === 'call' ? `${s.input_tokens === null ? '–' : f.exact(s.input_tokens)} / ${s.output_tokens === null ? '–' : f.exact(s.output_tokens)}` : '–'), sort: (s) => (s.kind === 'call' ? s.input_tokens ?? 0 : -1) },
    { head: 'cost', number: true, cell: (s) => (s.kind === 'call' ? f.usd(s.cost_nanousd) : '–'), sort: (s) => s.cost_nanousd ?? -1 },
    { head: 'told by', cell: (s) => (noTrace.test(s.trace_id) ? (s.log ? 'log record' : '–') : <a href={`/trace/${s.trace_id}${noTrace.test(s.span_id) ? '' : `?span=${s.span_id}`}`}>{s.log ? 'log record, trace' : 'trace'}</a>) },
  ];
}

export function SessionPage({ id, params }: { id: string; params: URLSearchParams }) {
  const now = useNow(5000);
  const { data, error, at } = useAnswer<Session>(href(`sessions/${encodeURIComponent(id)}`, { from: params.get('from') ?? '', to: params.get('to') ?? '' }), true);
  if (!data)
    return <main id="main">{error ? (error.status === 404 ? <><h1>No such session</h1><p>{error.message}</p><p><a href="/sessions">All sessions</a></p></> : <Trouble error={error} at={at} now={now} />) : <p class="quiet">Asking…</p>}</main>;
  const s = data.session;
  const chosen = params.get('turn') === null ? null : Number(params.get('turn'));
  const turns = data.turns.map((t, i) => ({ ...t, number: i }));
  const steps = data.steps.filter((x) => chosen === null || x.turn === chosen);
  const columns: Column<(typeof turns)[number]>[] = [
    { head: 'turn', cell: (t) => <>{t.number + 1} <span class="quiet">{f.clock(t.start_ms, true)}</span></>, sort: (t) => t.number },
    { head: 'took', number: true, cell: (t) => f.seconds((t.end_ms - t.start_ms) / 1000), sort: (t) => t.end_ms - t.start_ms },
    ...sumColumns<(typeof turns)[number]>(),
    { head: 'compactions', number: true, cell: (t) => (t.compactions ? f.exact(t.compactions) : '–'), sort: (t) => t.compactions },
    { head: 'handoffs', number: true, cell: (t) => (t.handoffs ? f.exact(t.handoffs) : '–'), sort: (t) => t.handoffs },
  ];
  return (
    <main id="main" class={error && at ? 'stale' : ''}>
      <p class="crumbs"><a href="/sessions">Sessions</a> › <a href={href('/sessions', { service: s.service })}>{s.service}</a> › <span class="mono">{s.id}</span> <Copy text={s.id} label="copy id" /></p>
      <h1>{s.service || 'session'}: {f.exact(s.turns)} {s.turns === 1 ? 'turn' : 'turns'}, {cost(s)}<Failed n={s.failed_calls} /></h1>
      {error && <Trouble error={error} at={at} now={now} />}
      {!data.complete && <p class="notice warn" role="status">This session is longer than one answer holds: turns, steps or traces are missing below.</p>}
      <dl class="tiles small">
        <div class="tile"><dt>cost</dt><dd class="value">{cost(s)}</dd><dd class="under">{s.reported_cost_nanousd ? `the sender says ${f.usd(s.reported_cost_nanousd)}` : s.unpriced ? `${f.exact(s.unpriced)} calls without a price` : ''}</dd></div>
        <div class="tile"><dt>model calls</dt><dd class="value">{f.exact(s.calls)}</dd><dd class="under">{s.model}</dd></div>
        <div class="tile"><dt>tool calls</dt><dd class="value">{f.exact(s.tools)}</dd><dd class="under">{s.tools ? `${f.exact(s.tools_by.ok)} ok, ${f.exact(s.tools_by.error + s.tools_by.timeout)} failed, ${f.exact(s.tools_by.rejected)} rejected` : ''}</dd></div>
        <div class="tile"><dt>context now</dt><dd class="value">{s.context_tokens === null ? '–' : f.count(s.context_tokens)}</dd><dd class="under">{s.compactions ? compactions(s.compactions) : 'tokens'}</dd></div>
        <div class="tile"><dt>tokens in / out</dt><dd class="value">{f.count(s.input_tokens)} / {f.count(s.output_tokens)}</dd><dd class="under">{s.input_tokens ? `${f.percent(s.cache_read_tokens / s.input_tokens)} of input from cache` : ''}</dd></div>
        <div class="tile"><dt>last seen</dt><dd class="under"><When ms={s.end_ms} now={now} /></dd></div>
      </dl>
      <Growth data={data} />
      <section data-section="turns">
        <h2>Turns</h2>
        <Table name="turns" rows={turns} columns={columns} id={(t) => String(t.number)} open={(t) => href(place(id), { turn: t.number === chosen ? undefined : t.number })} chosen={(t) => t.number === chosen} />
      </section>
      <section data-section="steps">
        <h2>{chosen === null ? 'Steps' : `Steps of turn ${chosen + 1}`} <span class="quiet">{f.exact(steps.length)}</span></h2>
        {chosen !== null && <p><a href={place(id)}>of all turns</a></p>}
        <Table name="steps" rows={steps.slice(0, STEPS)} columns={stepColumns(chosen === null ? s.start_ms : data.turns[chosen]?.start_ms ?? s.start_ms)} id={(x) => `${x.start_ms}-${data.steps.indexOf(x)}`} empty="nothing was told of this turn" />
        {steps.length > STEPS && <p class="quiet">The first {STEPS} of {f.exact(steps.length)}; choose a turn for its own.</p>}
      </section>
    </main>
  );
}
