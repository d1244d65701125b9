// One trace as a waterfall: width is time, the critical path dark, the rest pale, failures marked by shape; below it what a span says.
import { useMemo, useState } from 'preact/hooks';
import type { Span, Trace, Verdict } from './api';
import * as f from './format';
import { Grounding } from './grounding';
import { useAnswer, useNow } from './live';
import { Copy, Trouble, When } from './parts';
import { StreamMarks, StreamPicture, StreamWords, streamFacts } from './stream';
import { change } from './url';

const PAGE = 400; // rows drawn at once; more on request

function failed(s: Span): boolean {
  const o = s.genai?.outcome;
  return o ? !['ok', 'blocked', 'cancelled'].includes(o) : s.status === 2;
}

function Ruler({ total }: { total: number }) {
  const marks = [0, 0.25, 0.5, 0.75, 1];
  return <div class="ruler" aria-hidden="true">{marks.map((m) => <span class={m === 1 ? 'end' : ''} style={{ left: `${m * 100}%` }}>{f.nanos(total * m)}</span>)}</div>;
}

function Row({ span, total, chosen, open, doubted }: { span: Span; total: number; chosen: boolean; open: string; doubted: boolean }) {
  const left = (span.offset_ns / total) * 100, width = Math.max((span.duration_ns / total) * 100, 0.15);
  const g = span.genai;
  const call = g?.class === 'call';
  const ttft = typeof g?.ttft_ns === 'number' && span.duration_ns > 0 ? Math.min(1, g.ttft_ns / span.duration_ns) : null;
  const bad = failed(span);
  return (
    <a class={`span ${chosen ? 'chosen' : ''}`} href={open} data-row={span.span_id} aria-current={chosen ? 'true' : undefined}>
      <span class="label" style={{ paddingLeft: `${Math.min(span.depth, 20) * 12}px` }}>
        {bad ? <span class="mark bad" title="failed">▲</span> : <span class="mark" aria-hidden="true">{call ? '●' : '·'}</span>}
        <span class="name">{span.name || 'unnamed'}</span> <span class="quiet">{span.service}{call && g?.model ? ` · ${g.model}` : ''}</span>{bad && <span class="mark-text bad"> {g?.outcome && g.outcome !== 'ok' ? g.outcome.replaceAll('_', ' ') : 'error'}</span>}{span.orphan && <span class="quiet"> (parent not here)</span>}{doubted && <span class="mark-text warn"> ◆ probably not supported</span>}{span.stream && <StreamWords stream={span.stream} />}
      </span>
      <span class="track">
        <span class={`time ${span.critical ? 'critical' : ''} ${bad ? 'failed' : ''}`} style={{ left: `${left}%`, width: `${Math.min(width, 100 - left)}%` }}>
          {ttft !== null && <span class="ttft" style={{ width: `${ttft * 100}%` }} />}
        </span>
        {span.stream && <StreamMarks stream={span.stream} total={total} />}
      </span>
      <span class="length">{f.nanos(span.duration_ns)}</span>
    </a>
  );
}

/* --- what a model call said ---------------------------------------------------------------------- */

interface Message { role: string; text: string }

function textOf(part: unknown): string {
  if (typeof part === 'string') return part;
  if (Array.isArray(part)) return part.map(textOf).filter(Boolean).join('\n');
  if (part && typeof part === 'object') {
    const p = part as Record<string, unknown>;
    for (const key of ['content', 'text', 'parts', 'result', 'response', 'arguments']) if (p[key] !== undefined) return textOf(p[key]);
    return JSON.stringify(part);
  }
  return part === undefined || part === null ? '' : String(part);
}

function parsed(role: string, text: string): Message[] {
  try {
    const json: unknown = JSON.parse(text);
    if (Array.isArray(json)) return json.map((m) => ({ role: String((m as { role?: unknown })?.role ?? role), text: textOf(m) }));
    if (json && typeof json === 'object') return [{ role, text: textOf(json) }];
  } catch { /* plain text */ }
  return [{ role, text }];
}

const lists: [RegExp, string][] = [
  [/^gen_ai\.system_instructions$/, 'system'], [/^gen_ai\.input\.messages$/, 'input'], [/^gen_ai\.output\.messages$/, 'output'],
  [/^ai\.prompt(\.messages)?$/, 'input'], [/^ai\.response\.text$/, 'output'], [/^input\.value$/, 'input'], [/^output\.value$/, 'output'],
];
// Indexed attributes of older dialects: gen_ai.prompt.0.role, llm.input_messages.0.message.content.
const indexed = /^(gen_ai\.prompt|gen_ai\.completion|llm\.input_messages|llm\.output_messages)\.(\d+)\.(?:message\.)?(role|content)$/;

export function messages(span: Span): Message[] {
  const out: Message[] = [];
  const numbered = new Map<string, Message>();
  const all: [string, string][] = [...span.attributes, ...span.events.flatMap((e) => e.attributes)];
  for (const [key, value] of all) {
    const at = indexed.exec(key);
    if (at) {
      const id = `${at[1]}.${at[2]}`;
      const m = numbered.get(id) ?? { role: at[1].includes('completion') || at[1].includes('output') ? 'assistant' : 'user', text: '' };
      if (!numbered.has(id)) {
        numbered.set(id, m);
        out.push(m);
      }
      if (at[3] === 'role') m.role = value;
      else m.text = value;
      continue;
    }
    const list = lists.find(([pattern]) => pattern.test(key));
    if (list) out.push(...parsed(list[1], value));
  }
  return out.filter((m) => m.text);
}

function Facts({ span }: { span: Span }) {
  const g = span.genai;
  const n = (k: string) => (typeof g?.[k] === 'number' ? (g[k] as number) : null);
  const s = (k: string) => (typeof g?.[k] === 'string' ? (g[k] as string) : '');
  const rows: [string, string][] = [
    ['duration', f.nanos(span.duration_ns)], ['starts after', f.nanos(span.offset_ns)], ['service', span.service], ['kind', span.kind], ['scope', span.scope],
    ['status', span.status === 2 ? `error${span.status_message ? ': ' + span.status_message : ''}` : ''],
  ];
  if (g)
    rows.push(
      ['outcome', g.outcome.replaceAll('_', ' ') + (g.fault ? ` (fault: ${g.fault})` : '')], ['provider', s('provider')], ['model', s('model')],
      ['asked / answered', s('request_model') || s('response_model') ? `${s('request_model') || '–'} / ${s('response_model') || '–'}` : ''],
      ['TTFT', n('ttft_ns') === null ? '' : f.nanos(n('ttft_ns'))],
      ['input tokens', n('input_tokens') === null ? '' : f.exact(n('input_tokens')!) + (n('cache_read_tokens') ? ` (${f.exact(n('cache_read_tokens')!)} from cache)` : '')],
      ['output tokens', n('output_tokens') === null ? '' : f.exact(n('output_tokens')!) + (n('reasoning_tokens') ? ` (${f.exact(n('reasoning_tokens')!)} reasoning)` : '')],
      ['output speed', n('output_tokens') && span.duration_ns > (n('ttft_ns') ?? 0) ? `${f.digits(n('output_tokens')! / ((span.duration_ns - (n('ttft_ns') ?? 0)) / 1e9))} tok/s` : ''],
      ['cost', n('cost_nanousd') === null ? (g.unpriced ? 'no price known' : '') : f.usd(n('cost_nanousd')) + (g.estimated ? ' (tokens estimated)' : '')],
      ['finish reason', s('finish_reason')], ['error', s('error_type')], ['endpoint', s('endpoint')], ['tenant', s('tenant')],
      ['prompt', [s('prompt_name'), s('prompt_version')].filter(Boolean).join(' ')], ['conversation', s('conversation_id')], ['agent', s('agent_name')], ['tool', s('tool_name')], ['response id', s('response_id')],
    );
  if (span.stream) rows.push(...streamFacts(span.stream));
  return <dl class="facts">{rows.filter(([, v]) => v).map(([k, v]) => <div><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

interface Price { id: string; source: string; layer: string; content: { provider?: string; model: string; tier: string; above?: number; from?: string; input: number; output: number; cache_read: number; cache_write: number; gpu_hour?: number } }

// Which row of the price table made this cost.
function PriceRow({ id }: { id: string }) {
  const { data } = useAnswer<Price>(`prices/${encodeURIComponent(id)}`, false);
  const c = data?.content;
  if (!c || data.id !== id) return null;
  const what = c.gpu_hour !== undefined ? `$${c.gpu_hour} per GPU hour` : `per million tokens: $${c.input} in, $${c.output} out, $${c.cache_read} cache read, $${c.cache_write} cache write`;
  return (
    <p class="quiet small" data-price={data.id}>Priced by <span class="mono">{data.id}</span> ({data.source}): {[c.provider, c.model].filter(Boolean).join(' ')}
      {c.tier !== 'default' && `, ${c.tier} tier`}{c.above ? `, above ${f.exact(c.above)} input tokens` : ''}{c.from ? `, from ${c.from}` : ''}; {what}.</p>
  );
}

function Pairs({ title, rows }: { title: string; rows: [string, string][] }) {
  if (!rows.length) return null;
  return (
    <details open={title === 'attributes'}>
      <summary>{title} <span class="quiet">{rows.length}</span></summary>
      <dl class="pairs">{rows.map(([k, v]) => <div><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
    </details>
  );
}

function Detail({ span, start_ms, trace, verdict, again }: { span: Span; start_ms: number; trace: string; verdict?: Verdict; again: () => void }) {
  const said = messages(span);
  return (
    <section class="detail" aria-label="the chosen span" data-span={span.span_id}>
      <h2>{span.name || 'unnamed'} {failed(span) && <span class="state bad"><span class="mark" aria-hidden="true">▲</span> failed</span>}</h2>
      <Facts span={span} />
      {span.stream && <StreamPicture stream={span.stream} />}
      {typeof span.genai?.price_id === 'string' && <PriceRow id={span.genai.price_id} />}
      {typeof span.genai?.conversation_id === 'string' && <p><a href={`/session/${encodeURIComponent(span.genai.conversation_id)}`}>its session, turn by turn</a></p>}
      {verdict && <Grounding key={span.span_id} v={verdict} trace={trace} done={again} />}
      {said.length > 0 && <><h3>Messages</h3><ol class="messages">{said.map((m) => <li class={m.role}><span class="role">{m.role}</span><div class="text">{m.text}</div></li>)}</ol></>}
      {span.events.length > 0 && (
        <details open={span.events.length < 8}>
          <summary>events <span class="quiet">{span.events.length}</span></summary>
          <ol class="events">{span.events.map((e) => <li><span class="mono">+{f.nanos(Number(BigInt(e.time_ns) - BigInt(start_ms) * 1000000n) - span.offset_ns)}</span> <b>{e.name}</b> {e.attributes.map(([k, v]) => <span class="pair"><span class="quiet">{k}</span> {v} </span>)}</li>)}</ol>
        </details>
      )}
      <Pairs title="attributes" rows={span.attributes} />
      <Pairs title="resource" rows={span.resource} />
    </section>
  );
}

export function TracePage({ id, params }: { id: string; params: URLSearchParams }) {
  const now = useNow(5000);
  const { data, error, at } = useAnswer<Trace>(`traces/${encodeURIComponent(id)}`, false);
  const checked = useAnswer<{ verdicts: Verdict[] }>(data ? `grounding/traces/${encodeURIComponent(id)}` : null, false);
  const [shown, setShown] = useState(PAGE);
  const span = params.get('span');
  const chosen = useMemo(() => data?.spans.find((s) => s.span_id === span) ?? data?.spans.find((s) => failed(s) && s.genai?.class === 'call') ?? data?.spans.find((s) => failed(s) && s.genai) ?? data?.spans.find((s) => s.genai?.class === 'call') ?? data?.spans[0], [data, span]);
  if (!data)
    return <main id="main">{error ? (error.status === 404 ? <><h1>No such trace</h1><p>{error.message}</p><p><a href="/traces">Search traces</a></p></> : <Trouble error={error} at={at} now={now} />) : <p class="quiet">Asking…</p>}</main>;
  const s = data.summary, total = Math.max(1, s.duration_ns);
  const path = data.spans.filter((x) => x.critical).length, streams = data.spans.some((x) => x.stream);
  return (
    <main id="main">
      <p class="crumbs"><a href="/oncall">On-call</a> › <a href={`/traces?service=${encodeURIComponent(s.service)}`}>{s.service || 'traces'}</a> › <span class="mono">{id}</span> <Copy text={id} label="copy id" /></p>
      <h1>{s.errors ? <span class="mark bad" aria-hidden="true">▲ </span> : ''}{s.name || 'unnamed'}{s.errors ? <span class="quiet"> failed: {s.error || 'error'}</span> : ''}</h1>
      <dl class="tiles small">
        <div class="tile"><dt>duration</dt><dd class="value">{f.nanos(s.duration_ns)}</dd></div>
        <div class="tile"><dt>TTFT</dt><dd class="value">{f.nanos(s.ttft_ns)}</dd></div>
        <div class="tile"><dt>model calls</dt><dd class="value">{f.exact(s.calls)}</dd><dd class="under">{s.model}</dd></div>
        <div class="tile"><dt>tokens in / out</dt><dd class="value">{s.input_tokens === null ? '–' : f.count(s.input_tokens)} / {s.output_tokens === null ? '–' : f.count(s.output_tokens)}</dd></div>
        <div class="tile"><dt>cost</dt><dd class="value">{f.usd(s.cost_nanousd)}</dd></div>
        <div class="tile"><dt>started</dt><dd class="under"><When ms={s.start_ms} now={now} /></dd></div>
      </dl>
      <section aria-label="waterfall">
        <p class="quiet small">Dark: the critical path ({path} of {f.exact(s.spans)} spans), what the user waited for. Light part of a bar: until the first token. ▲ failed, ● model call.{streams && ' Below a bar: its tokens over time; line: the first token; hatched and ‖: a stall.'}</p>
        <div class="waterfall">
          <Ruler total={total} />
          {data.spans.slice(0, shown).map((x) => <Row key={x.span_id} span={x} total={total} chosen={x === chosen} doubted={!!checked.data?.verdicts.some((v) => v.span_id === x.span_id && v.flagged)} open={`/trace/${id}?span=${x.span_id}`} />)}
        </div>
        {data.spans.length > shown && <button type="button" onClick={() => setShown(shown + PAGE * 5)}>show {f.exact(Math.min(PAGE * 5, data.spans.length - shown))} more of {f.exact(data.spans.length)}</button>}
      </section>
      {chosen && <Detail span={chosen} start_ms={s.start_ms} trace={s.trace_id} verdict={checked.data?.verdicts.find((v) => v.span_id === chosen.span_id)} again={checked.again} />}
    </main>
  );
}

export const closeSpan = () => change({ span: undefined });
