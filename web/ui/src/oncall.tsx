// The on-call page: are users hurt, since when, by what.
import { useMemo, useState } from 'preact/hooks';
import { post, type Backtest, type Budget, type Change, type Fresh, type KafkaMessage, type KafkaTrouble, type Model, type Oncall, type PastAlert, type Slo, type TraceLine } from './api';
import { Alerts, Silences } from './alerts';
import { Chart, type Line } from './chart';
import * as f from './format';
import { useAnswer, useNow } from './live';
import { Copy, State, Table, Trouble, When, type Column } from './parts';
import { href } from './url';

const ranges: [number, string][] = [[15, '15 min'], [60, '1 h'], [180, '3 h'], [360, '6 h'], [1440, '24 h'], [10080, '7 d'], [43200, '30 d']];

export function apiPath(params: URLSearchParams): string {
  const q: Record<string, string> = {};
  for (const name of ['range', 'to', 'service', 'model']) if (params.get(name)) q[name] = params.get(name)!;
  return href('oncall', q);
}

export function Range({ params, live, now }: { params: URLSearchParams; live: boolean; now: number }) {
  const range = Number(params.get('range') ?? 60);
  const with_ = (changes: Record<string, string | undefined>) => {
    const p = new URLSearchParams(params);
    for (const [k, v] of Object.entries(changes)) if (v === undefined) p.delete(k); else p.set(k, v);
    return href('/oncall', p);
  };
  const to = Number(params.get('to') ?? 0);
  return (
    <nav class="range" aria-label="time range">
      {ranges.map(([m, text]) => <a href={with_({ range: String(m) })} aria-current={m === range ? 'true' : undefined}>{text}</a>)}
      {ranges.some(([m]) => m === range) ? null : <span class="current">{f.minutes(range)}</span>}
      {to ? <span class="until">until <time title={f.stamp(to)}>{f.stamp(to).slice(5, 16)}</time> <a href={with_({ to: undefined })}>back to live</a></span>
        : <span class="until quiet">{live ? `live, ${f.clock(now)}` : ''}</span>}
    </nav>
  );
}

/* --- the numbers that decide --------------------------------------------------------------------- */

interface Tile { id: string; label: string; value: string; target?: string; change?: number | null; goodDown?: boolean; n?: string; state?: string }

function worst(slos: Slo[]): Slo | undefined {
  const known = slos.filter((s) => s.budget_left !== null);
  return known.sort((a, b) => (b.state === 'firing' ? 1 : 0) - (a.state === 'firing' ? 1 : 0) || a.budget_left! - b.budget_left!)[0];
}

function tiles(d: Oncall, slo: Slo | undefined): Tile[] {
  const t = d.traffic, c = d.compare;
  const eligible = t.calls.good + t.calls.bad;
  const ratio = eligible ? t.calls.bad / eligible : null;
  const thenEligible = c ? c.calls.good + c.calls.bad : 0;
  const all = eligible + t.calls.excluded;
  const thenAll = thenEligible + (c?.calls.excluded ?? 0);
  const hours = t.minutes / 60, thenHours = (c?.minutes ?? 0) / 60;
  const out: Tile[] = [];
  if (slo)
    out.push({
      id: 'budget', label: `error budget left · ${slo.name}`, value: f.percent(slo.budget_left), target: `target ${f.sli(slo.target)} over ${f.minutes(slo.period_minutes)}`,
      n: `${f.exact(slo.period.bad)} bad of ${f.exact(slo.period.good + slo.period.bad)}`, state: slo.state === 'firing' ? 'bad' : slo.budget_left! < 0 ? 'bad' : slo.budget_left! < 0.25 ? 'warn' : undefined,
    }, {
      id: 'gone', label: 'budget gone in', value: slo.budget_left! <= 0 ? 'gone' : slo.exhaustion_minutes === null ? 'not burning' : f.roughly(slo.exhaustion_minutes),
      target: slo.burn_1h === null ? undefined : `at ${f.burn(slo.burn_1h)} (1 h)`, state: slo.exhaustion_minutes !== null && slo.exhaustion_minutes < 4320 ? 'warn' : undefined,
    });
  out.push(
    { id: 'errors', label: 'error ratio', value: f.percent(ratio), change: f.change(ratio, thenEligible ? c!.calls.bad / thenEligible : null), goodDown: true, n: `${f.exact(t.calls.bad)} of ${f.exact(eligible)} calls` },
    { id: 'calls', label: 'calls', value: `${f.digits(all / Math.max(1, t.minutes))} /min`, change: f.change(all / Math.max(1, t.minutes), c ? thenAll / Math.max(1, c.minutes) : null), n: `${f.exact(all)} calls` },
    { id: 'p99', label: 'latency p99', value: f.seconds(t.latency.p99), change: f.change(t.latency.p99, c?.latency.p99), goodDown: true, n: `${f.exact(t.latency.n)} calls` },
    { id: 'ttft', label: 'TTFT p95', value: f.seconds(t.ttft.p95), change: f.change(t.ttft.p95, c?.ttft.p95), goodDown: true, n: `${f.exact(t.ttft.n)} streamed calls` },
    { id: 'tokens', label: 'tokens', value: f.count(t.input_tokens + t.output_tokens), change: f.change((t.input_tokens + t.output_tokens) / Math.max(1e-9, hours), c ? (c.input_tokens + c.output_tokens) / Math.max(1e-9, thenHours) : null), n: `${f.count(t.input_tokens)} in, ${f.count(t.output_tokens)} out` },
    { id: 'cost', label: 'cost', value: `${f.usd(t.cost_nanousd / Math.max(1e-9, hours))}/h`, change: f.change(t.cost_nanousd / Math.max(1e-9, hours), c ? c.cost_nanousd / Math.max(1e-9, thenHours) : null), goodDown: true, n: `${f.usd(t.cost_nanousd)} in ${f.minutes(t.minutes)}${t.unpriced_calls ? `, ${f.exact(t.unpriced_calls)} calls unpriced` : ''}` },
  );
  return out;
}

function Tiles({ d, slo }: { d: Oncall; slo: Slo | undefined }) {
  return (
    <section aria-label="key numbers">
      <dl class="tiles">
        {tiles(d, slo).map((t) => (
          <div key={t.id} class={`tile ${t.state ?? ''}`} data-tile={t.id}>
            <dt>{t.label}</dt>
            <dd class="value">{t.value}</dd>
            <dd class="under">
              {t.change !== undefined && t.change !== null && <span class={`change ${Math.abs(t.change) < 0.05 || t.goodDown === undefined ? '' : t.change > 0 ? 'worse' : 'better'}`} title={`compared with ${d.compare!.with}`}>{f.changeText(t.change)}</span>}
              {t.target && <span>{t.target}</span>}
              {t.n && <span>{t.n}</span>}
            </dd>
          </div>
        ))}
      </dl>
      {d.compare && <p class="quiet small">Changes are against {d.compare.with}. Counts are exact; quantiles come from histograms with buckets 9 % wide.</p>}
    </section>
  );
}

/* --- alerts and objectives ----------------------------------------------------------------------- */

function Meter({ left }: { left: number | null }) {
  if (left === null) return <span class="meter hatch" aria-hidden="true" />;
  return <span class="meter" aria-hidden="true"><span class={left < 0 ? 'bad' : left < 0.25 ? 'warn' : 'good'} style={{ width: `${Math.min(100, Math.max(left < 0 ? 100 : 1, left * 100))}%` }} /></span>;
}

function Slos({ slos, chosen, params }: { slos: Slo[]; chosen?: Slo; params: URLSearchParams }) {
  const columns: Column<Slo>[] = [
    { head: 'objective', cell: (s) => <><b>{s.name}</b>{s.service && <span class="quiet"> {s.service}</span>}</>, sort: (s) => s.name },
    { head: 'state', cell: (s) => <State of={s.state} word={s.state === 'firing' ? (s.severity === 'page' ? 'burning' : 'burning slowly') : undefined} />, sort: (s) => s.state },
    { head: 'SLI', number: true, cell: (s) => f.sli(s.sli), sort: (s) => s.sli ?? 2, hint: 'good of all eligible over the period' },
    { head: 'target', number: true, cell: (s) => f.sli(s.target), sort: (s) => s.target },
    { head: 'budget left', number: true, cell: (s) => <span class="budget"><Meter left={s.budget_left} />{f.percent(s.budget_left)}</span>, sort: (s) => s.budget_left ?? 2 },
    { head: 'burn 1 h', number: true, cell: (s) => f.burn(s.burn_1h), sort: (s) => s.burn_1h ?? -1 },
    { head: 'burn 24 h', number: true, cell: (s) => f.burn(s.burn_24h), sort: (s) => s.burn_24h ?? -1 },
    { head: 'gone in', number: true, cell: (s) => (s.budget_left !== null && s.budget_left <= 0 ? 'gone' : s.exhaustion_minutes === null ? '–' : f.minutes(s.exhaustion_minutes)), sort: (s) => s.exhaustion_minutes ?? 1e12 },
    { head: 'bad / eligible', number: true, cell: (s) => `${f.exact(s.period.bad)} / ${f.exact(s.period.good + s.period.bad)}`, sort: (s) => s.period.bad },
    { head: 'excluded', number: true, cell: (s) => (s.period.excluded ? <span title={s.excluded.map((x) => `${x.reason} ${x.count}`).join(', ')}>{f.exact(s.period.excluded)}</span> : '0'), sort: (s) => s.period.excluded },
    { head: 'quality', cell: (s) => <span class="quiet">{s.quality_text || s.quality}</span> },
  ];
  const to = (s: Slo) => {
    const p = new URLSearchParams(params);
    p.set('slo', s.id);
    return href('/oncall', p);
  };
  return (
    <section>
      <h2>Objectives</h2>
      <Table name="objectives with budget and burn" rows={slos} columns={columns} id={(s) => s.id} open={to} chosen={(s) => s.id === chosen?.id} empty="No objective is loaded. Start with --slo FILE (OpenSLO v1)." />
      {slos.length > 0 && slos.every((s) => s.is_default) && <p class="quiet small">These are the built-in objectives. Your own: <code>telltale serve --slo objectives.yaml</code></p>}
    </section>
  );
}

// When it is gone if the next hours are like the last 24, and how sure that is.
function outlook(b: Budget): string {
  const x = b.forecast, left = b.budget_left[b.budget_left.length - 1];
  if (!x || left === null || left <= 0) return '';
  const text = (m: number | null) => (m === null ? 'never' : f.roughly(m));
  return x.low_minutes === null ? '; not gone at the rate of the last day' : `; gone in ${text(x.minutes)} at the rate of the last day (80 %: ${text(x.low_minutes)} to ${text(x.high_minutes)})`;
}

function BudgetCharts({ slo, range, to }: { slo: Slo; range: number; to: number }) {
  const end = to || Math.floor(Date.now() / 60000) * 60000 + 60000;
  const minutes = Math.max(range, 60);
  const { data } = useAnswer<Budget>(href('budgets', { slo: slo.id, from: end - minutes * 60000, to: to || undefined }), !to);
  if (!data || !data.t_ms.length) return null;
  const step = data.step_minutes * 60000;
  const left = data.budget_left;
  const first = left.findIndex((v) => v !== null);
  const even = data.t_ms.map((t, i) => (first < 0 || i < first ? null : left[first]! - (t - data.t_ms[first]) / (slo.period_minutes * 60000)));
  const threshold = data.threshold ?? 0;
  const drawable = (v: (number | null)[]) => v.map((x) => (x === null ? null : Math.max(x, 0.01)));
  return (
    <>
      <Chart title={`Error budget left: ${slo.name}`} note={`of ${f.minutes(slo.period_minutes)}; dashed: burning evenly${outlook(data)}`} t_ms={data.t_ms} step_ms={step} zero={false} format={(v) => f.percent(v, 4)}
        lines={[{ label: 'left', values: left, color: '--accent', width: 2 }, { label: 'even', values: even, color: '--quiet-line', dash: [4, 4], width: 1 }]} gaps={left.map((v) => v === null)} empty="no eligible event yet" />
      <Chart title="Burn rate" note={`shaded: both windows above ${f.burn(threshold)}`} t_ms={data.t_ms} step_ms={step} log format={f.burn}
        lines={[{ label: `long ${f.minutes(data.long_minutes)}`, values: drawable(data.burn_long), shown: data.burn_long, color: '--accent', width: 2 }, { label: `short ${f.minutes(data.short_minutes)}`, values: drawable(data.burn_short), shown: data.burn_short, color: '--second' }]}
        both={[0, 1, threshold]} levels={[{ value: threshold, label: `page above ${f.burn(threshold)}`, color: '--bad' }, { value: 1, label: '1× spends it all', color: '--quiet-line' }]} empty="no eligible event yet" />
      <Chart title="Bad events" note={`per ${f.minutes(data.step_minutes)}, of those this objective counts`} t_ms={data.t_ms} step_ms={step} height={120} format={f.count}
        lines={[{ label: 'bad', values: data.bad.map((v, i) => (data.eligible[i] ? v : null)), color: '--bad', bars: true }]} gaps={data.eligible.map((v) => !v)} empty="no eligible event yet" />
    </>
  );
}

const times = (n: number) => `${n} time${n === 1 ? '' : 's'}`;

// What the objective's rules would have told people over the last 30 days: asked for when somebody looks.
function Past({ slo }: { slo: Slo }) {
  const [asked, ask] = useState('');
  const { data, error } = useAnswer<Backtest>(asked === slo.id ? href(`slos/${slo.id}/backtest`, { since: '30d' }) : null, false);
  const shown = asked === slo.id && data?.id === slo.id ? data : null;
  const columns: Column<PastAlert>[] = [
    { head: 'fired', cell: (a) => f.stamp(a.fired_ms), sort: (a) => a.fired_ms },
    { head: 'severity', cell: (a) => <>{a.severity}{!a.told && <span class="quiet"> (another had told)</span>}</>, sort: (a) => a.severity },
    { head: 'rule', cell: (a) => a.rule.replaceAll('-', ' '), sort: (a) => a.rule },
    { head: 'for', number: true, cell: (a) => (a.resolved_ms ? f.roughly((a.resolved_ms - a.fired_ms) / 60000) : 'still'), sort: (a) => (a.resolved_ms || shown!.to_ms) - a.fired_ms },
    { head: 'burn', number: true, cell: (a) => f.burn(a.long_burn), sort: (a) => a.long_burn ?? -1, hint: 'of the long window, when it fired' },
    { head: 'peak', number: true, cell: (a) => f.burn(a.peak_burn), sort: (a) => a.peak_burn ?? -1 },
    { head: 'budget left', number: true, cell: (a) => f.percent(a.budget_left), sort: (a) => a.budget_left ?? 2 },
    { head: 'responsible', cell: (a) => a.phrase || '–' },
  ];
  return (
    <details class="past" open={asked === slo.id} onToggle={(e) => ask(e.currentTarget.open ? slo.id : '')}>
      <summary>What these rules would have told in the last 30 days: {slo.name}</summary>
      {error && !shown && <p class="bad">{error.message}</p>}
      {shown && <p>It would have paged <b>{times(shown.pages)}</b> and written {shown.tickets} ticket{shown.tickets === 1 ? '' : 's'}{shown.cut ? '; the list is not complete' : ''}.{shown.exact_share !== null && shown.exact_share < 0.995 ? ` The threshold's own counter has ${f.percent(shown.exact_share)} of the calls.` : ''}{shown.data_from_ms > shown.from_ms + 3600000 ? ` The first event is of ${f.stamp(shown.data_from_ms)}.` : ''}</p>}
      {shown && <Table name="alerts that would have fired" rows={shown.alerts} columns={columns} id={(a) => `${a.rule} ${a.fired_ms}`} empty="Nothing would have fired." />}
    </details>
  );
}

/* --- pictures ------------------------------------------------------------------------------------ */

const hues = ['--c1', '--c2', '--c3', '--c4', '--c5', '--c6']; // grey is for the rest
// The same model keeps its hue on every page: by its name, and the next free one where two names fall together.
export function hueOf(models: string[]): Map<string, string> {
  const out = new Map<string, string>(), taken = new Set<number>();
  for (const m of [...models].sort()) {
    let h = 7;
    for (const c of m) h = (h * 31 + c.charCodeAt(0)) >>> 0;
    let at = h % hues.length;
    for (let i = 0; taken.has(at) && i < hues.length; i++) at = (at + 1) % hues.length;
    taken.add(at);
    out.set(m, hues[at]);
  }
  return out;
}

// Steps in which nothing is known. A quiet minute among few calls is zero calls; where ten or more were to be expected, nothing arrived.
function missing(calls: number[], open_ms: number): boolean[] {
  const busy = calls.filter((n) => n > 0);
  const usual = busy.reduce((a, b) => a + b, 0) / Math.max(1, busy.length);
  const out = calls.map(() => false);
  for (let i = 0; i < calls.length; i++) {
    if (calls[i]) continue;
    let end = i;
    while (end + 1 < calls.length && !calls[end + 1]) end++;
    const steps = end - i + (end === calls.length - 1 ? open_ms : 1); // the last step is not over
    if (!busy.length || i === 0 || steps * usual * (busy.length / calls.length) >= 10) out.fill(true, i, end + 1);
    i = end;
  }
  return out;
}

function Traffic({ d, changes }: { d: Oncall; changes: Change[] }) {
  const t = d.traffic, marks = changes.map((c) => ({ at_ms: c.at_ms, label: c.title }));
  // the open step has lasted only so far: a rate over its whole length would look like a fall
  const lasted = t.t_ms.map((at) => Math.min(t.step_ms, Math.max(0, d.now_ms - at)));
  const rate = (v: number[], unit_ms: number) => v.map((n, i) => (lasted[i] < 15000 ? null : (n * unit_ms) / lasted[i]));
  const per = (v: number[]) => rate(v, 60000);
  const any = t.good_at.map((g, i) => g + t.bad_at[i] + t.excluded_at[i]);
  const seen = any.map((n) => n > 0);
  const known = <T,>(v: T[]) => v.map((x, i) => (seen[i] ? x : null));
  const gaps = missing(any, lasted[lasted.length - 1] / t.step_ms);
  const calls = per(any).map((v, i) => (gaps[i] ? null : v));
  const hue = hueOf(d.models.filter((m) => !m.is_rest).map((m) => m.model));
  const name = (m: Model) => m.model || 'no model';
  const stack = d.models.map((m) => rate(m.cost_at, 3600000).map((c) => (c === null ? null : c / 1e9)));
  const cost: Line[] = d.models.map((m, k) => ({
    label: name(m), color: m.is_rest ? '--quiet-line' : hue.get(m.model)!, fill: true, width: 1, shown: stack[k],
    values: t.t_ms.map((_, i) => (gaps[i] || stack[k][i] === null ? null : stack.slice(k).reduce((s, v) => s + (v[i] ?? 0), 0))),
  }));
  const lines: Line[] = d.models.map((m) => ({ label: name(m), color: m.is_rest ? '--quiet-line' : hue.get(m.model)!, values: per(m.calls_at).map((v, i) => (gaps[i] ? null : v)) }));
  const quantiles = (q: typeof t.latency): Line[] => [
    { label: 'p99', values: q.p99_at ?? [], color: '--p99', width: 2 }, { label: 'p95', values: q.p95_at ?? [], color: '--p95' }, { label: 'p50', values: q.p50_at ?? [], color: '--p50' },
  ];
  const priced = d.models.some((m) => m.cost_nanousd > 0);
  return (
    <>
      <Chart title="Calls" marks={marks} note="per minute, all models" t_ms={t.t_ms} step_ms={t.step_ms} format={f.count} gaps={gaps} lines={[{ label: 'calls', values: calls, color: '--accent', width: 2 }]} />
      <Chart title="Errors" marks={marks} note="share of eligible calls that were bad" t_ms={t.t_ms} step_ms={t.step_ms} format={(v) => f.percent(v)} gaps={gaps} max={0.01}
        lines={[{ label: 'bad', color: '--bad', width: 2, values: known(t.bad_at.map((b, i) => (b + t.good_at[i] ? b / (b + t.good_at[i]) : 0))) }]} />
      <Chart title="Latency" marks={marks} note="of calls, logarithmic" log t_ms={t.t_ms} step_ms={t.step_ms} format={f.seconds} lines={quantiles(t.latency)} gaps={gaps} />
      <Chart title="Time to first token" marks={marks} note="of streamed calls, logarithmic" log t_ms={t.t_ms} step_ms={t.step_ms} format={f.seconds} lines={quantiles(t.ttft)} empty="no call said when its first token came" />
      <Chart title="Calls by model" note="per minute" t_ms={t.t_ms} step_ms={t.step_ms} format={f.count} lines={lines} gaps={gaps} />
      <Chart title="Cost by model" note="US dollars an hour, stacked" t_ms={t.t_ms} step_ms={t.step_ms} format={(v) => f.usd(v * 1e9)} lines={priced ? cost : []} gaps={gaps} empty="no call of this range has a price" />
    </>
  );
}

// What was told, and what the calls show: for the service that is looked at, or for all.
function Changes({ rows, now }: { rows: Change[]; now: number }) {
  const columns: Column<Change>[] = [
    { head: 'when', cell: (c) => <When ms={c.at_ms} now={now} />, sort: (c) => c.at_ms },
    { head: 'what', cell: (c) => <>{c.found ? `new ${c.kind}` : c.kind} <b>{c.link ? <a href={c.link} rel="noreferrer">{c.title}</a> : c.title}</b></>, sort: (c) => c.kind + c.title },
    { head: 'service', cell: (c) => c.service || 'all', sort: (c) => c.service },
    { head: 'before', cell: (c) => c.before || '–', hint: 'what the service used most in the day before' },
    { head: 'calls since', number: true, cell: (c) => f.percent(c.share, 2), sort: (c) => c.share ?? -1, hint: 'share of the service’s calls since it appeared' },
    { head: 'told by', cell: (c) => (c.found ? <span class="quiet">found in the calls</span> : c.by || '–'), sort: (c) => c.by },
  ];
  if (!rows.length) return null;
  return <section data-section="changes"><h2>What changed</h2><Table name="what changed" rows={rows} columns={columns} id={(c) => `${c.at_ms} ${c.service} ${c.kind} ${c.title}`} /></section>;
}

function Responsible({ d, params }: { d: Oncall; params: URLSearchParams }) {
  const bad = d.traffic.calls.bad;
  const link = (dim: string, value: string) => {
    const p = new URLSearchParams(params);
    p.set(dim, value);
    return href('/oncall', p);
  };
  return (
    <figure class="chart" aria-label="who is responsible">
      <figcaption><h3>Who is responsible</h3><span class="note">share of bad calls beside share of all calls</span></figcaption>
      {!bad ? <p class="quiet">No bad call in this range.</p> : !d.responsible.length ? <p class="quiet">Nothing stands out: the {f.exact(bad)} bad calls are spread like all others.</p> : (
        <ul class="shares">
          {d.responsible.map((s) => (
            <li key={s.dim + s.value}>
              <span class="who"><span class="quiet">{s.dim}</span> {s.dim === 'model' || s.dim === 'service' ? <a href={link(s.dim, s.value)}>{s.value}</a> : s.value}</span>
              <span class="bars" role="img" aria-label={`${f.percent(s.bad_share)} of the bad, ${f.percent(s.all_share)} of all`}>
                <span class="bar bad" style={{ width: `${Math.max(0.5, s.bad_share * 100)}%` }} /><span class="bar all" style={{ width: `${Math.max(0.5, s.all_share * 100)}%` }} />
              </span>
              <span class="n">{f.percent(s.bad_share, 2)} of bad<br /><span class="quiet">{f.percent(s.all_share, 2)} of all · n {f.exact(s.bad)}</span></span>
            </li>
          ))}
        </ul>
      )}
    </figure>
  );
}

/* --- tables -------------------------------------------------------------------------------------- */

export const traceColumns = (now: number): Column<TraceLine>[] => [
  { head: 'trace', cell: (t) => <><b>{t.name || 'unnamed'}</b> <span class="quiet">{t.service}</span></>, sort: (t) => t.service + t.name },
  { head: 'started', cell: (t) => <When ms={t.start_ms} now={now} />, sort: (t) => t.start_ms },
  { head: 'duration', number: true, cell: (t) => f.nanos(t.duration_ns), sort: (t) => t.duration_ns },
  { head: 'TTFT', number: true, cell: (t) => f.nanos(t.ttft_ns), sort: (t) => t.ttft_ns ?? -1 },
  { head: 'model', cell: (t) => t.model || '–', sort: (t) => t.model },
  { head: 'tokens in / out', number: true, cell: (t) => (t.input_tokens === null && t.output_tokens === null ? '–' : `${t.input_tokens === null ? '–' : f.exact(t.input_tokens)} / ${t.output_tokens === null ? '–' : f.exact(t.output_tokens)}`), sort: (t) => (t.input_tokens ?? 0) + (t.output_tokens ?? 0) },
  { head: 'cost', number: true, cell: (t) => f.usd(t.cost_nanousd), sort: (t) => t.cost_nanousd ?? -1 },
  { head: 'spans', number: true, cell: (t) => f.exact(t.spans), sort: (t) => t.spans },
  { head: 'result', cell: (t) => (t.errors ? <span class="state bad"><span class="mark" aria-hidden="true">▲</span> {t.error || 'error'}</span> : <span class="state good"><span class="mark" aria-hidden="true">✓</span> ok</span>), sort: (t) => t.errors },
];

function Models({ d }: { d: Oncall }) {
  const hue = hueOf(d.models.filter((m) => !m.is_rest).map((m) => m.model));
  const columns: Column<Model>[] = [
    { head: 'model', cell: (m) => <><span class={`swatch ${(hue.get(m.model) ?? '').slice(2)}`} aria-hidden="true" />{m.model || 'no model'}</>, sort: (m) => m.model },
    { head: 'calls', number: true, cell: (m) => f.exact(m.calls.good + m.calls.bad + m.calls.excluded), sort: (m) => m.calls.good + m.calls.bad + m.calls.excluded },
    { head: 'bad', number: true, cell: (m) => f.exact(m.calls.bad), sort: (m) => m.calls.bad },
    { head: 'error ratio', number: true, cell: (m) => f.percent(m.calls.good + m.calls.bad ? m.calls.bad / (m.calls.good + m.calls.bad) : null), sort: (m) => m.calls.bad / Math.max(1, m.calls.good + m.calls.bad) },
    { head: 'p50', number: true, cell: (m) => f.seconds(m.p50), sort: (m) => m.p50 ?? -1 },
    { head: 'p95', number: true, cell: (m) => f.seconds(m.p95), sort: (m) => m.p95 ?? -1 },
    { head: 'p99', number: true, cell: (m) => f.seconds(m.p99), sort: (m) => m.p99 ?? -1 },
    { head: 'TTFT p95', number: true, cell: (m) => f.seconds(m.ttft_p95), sort: (m) => m.ttft_p95 ?? -1 },
    { head: 'input tok', number: true, cell: (m) => f.exact(m.input_tokens), sort: (m) => m.input_tokens },
    { head: 'output tok', number: true, cell: (m) => f.exact(m.output_tokens), sort: (m) => m.output_tokens },
    { head: 'cost', number: true, cell: (m) => f.usd(m.cost_nanousd), sort: (m) => m.cost_nanousd },
  ];
  return <section data-section="models"><h2>Models</h2><Table name="models" rows={d.models} columns={columns} id={(m) => m.model} empty="no call in this range" /></section>;
}

const freshState = (ms: number, now: number) => (now - ms < 90000 ? 'fresh' : now - ms < 600000 ? 'late' : 'silent');
function Freshness({ rows, now }: { rows: Fresh[]; now: number }) {
  const columns: Column<Fresh>[] = [
    { head: 'service', cell: (r) => <b>{r.service || 'unnamed'}</b>, sort: (r) => r.service },
    { head: 'state', cell: (r) => <State of={freshState(r.received_ms, now)} />, sort: (r) => -r.received_ms },
    { head: 'last received', cell: (r) => <When ms={r.received_ms} now={now} />, sort: (r) => r.received_ms },
    { head: 'newest span ended', cell: (r) => <When ms={r.newest_ms} now={now} />, sort: (r) => r.newest_ms },
    { head: 'lag', number: true, cell: (r) => f.seconds(Math.max(0, (r.received_ms - r.newest_ms) / 1000)), sort: (r) => r.received_ms - r.newest_ms, hint: 'from the end of the newest span to its arrival' },
  ];
  return <section data-section="freshness"><h2>Data freshness</h2><Table name="data freshness by service" rows={rows} columns={columns} id={(r) => r.service} open={(r) => href('/traces', { service: r.service })} /></section>;
}

function Examples({ d, now }: { d: Oncall; now: number }) {
  const columns = traceColumns(now);
  return (
    <section data-section="examples">
      <h2>Example traces</h2>
      <h3>Failed</h3>
      <Table name="failed traces" rows={d.examples.errors} columns={columns} id={(t) => t.trace_id} open={(t) => `/trace/${t.trace_id}`} empty="No failed call in this range." />
      <h3>Slowest twentieth</h3>
      <Table name="slow traces" rows={d.examples.slow} columns={columns} id={(t) => t.trace_id} open={(t) => `/trace/${t.trace_id}`} empty="No call in this range." />
      <p><a href={href('/traces', { calls: 1, service: d.services.length === 1 ? d.services[0] : undefined })}>All traces</a></p>
    </section>
  );
}

function Ingest({ d }: { d: Oncall }) {
  const rejected = (r: Record<string, number>) => Object.entries(r).map(([k, v]) => `${f.exact(v)} ${k.replaceAll('_', ' ')}`).join(', ') || '0';
  return (
    <section data-section="ingest">
      <h2>Ingest</h2>
      <Table name="ingest totals" rows={d.accounts} id={(a) => a.signal} columns={[
        { head: 'signal', cell: (a) => <b>{a.signal}</b> }, { head: 'received', number: true, cell: (a) => f.exact(a.received) }, { head: 'stored', number: true, cell: (a) => f.exact(a.stored) },
        { head: 'duplicate', number: true, cell: (a) => f.exact(a.duplicate) }, { head: 'rejected', number: true, cell: (a) => rejected(a.rejected) }, { head: 'quarantined', number: true, cell: (a) => f.exact(a.quarantined) },
      ]} empty="nothing received yet" />
    </section>
  );
}

const placeOf = (m: { topic: string; partition: number; offset: number }) => `${encodeURIComponent(m.topic)}/${m.partition}/${m.offset}`;

function Replay({ m, done }: { m: KafkaMessage; done: () => void }) {
  const [said, say] = useState('');
  if (m.replayed) return <span class="quiet">replayed</span>;
  const go = () => post(`admin/quarantine/replay/${placeOf(m)}`).then(done, (e) => say(e.message));
  return <><button type="button" onClick={go} disabled={m.kept < m.size} title={m.kept < m.size ? 'only its beginning is kept: send the message itself, docs/kafka.md' : 'read it again, as if it had just come'}>replay</button> {said && <span role="alert">{said}</span>}</>;
}

// Only there when there is something: most people have no Kafka.
function Kafka({ now }: { now: number }) {
  const { data, again } = useAnswer<KafkaTrouble>('quarantine/messages?limit=50', false);
  if (!data || (!data.messages.length && !data.overlaps.length)) return null;
  return (
    <section data-section="kafka">
      <h2>Kafka</h2>
      {data.messages.length > 0 && <><h3>Messages that could not be read</h3><Table name="messages that could not be read" rows={data.messages} id={placeOf} columns={[
        { head: 'place', cell: (m) => <b>{m.topic}[{m.partition}] {m.offset}</b> }, { head: 'read', cell: (m) => <When ms={m.time_ms} now={now} />, sort: (m) => m.time_ms },
        { head: 'reason', cell: (m) => m.reason }, { head: 'bytes', number: true, cell: (m) => <a href={`/api/telltale/v1/quarantine/messages/${placeOf(m)}`} download>{f.exact(m.size)}</a>, sort: (m) => m.size },
        { head: '', cell: (m) => <Replay m={m} done={again} /> },
      ]} /></>}
      {data.overlaps.length > 0 && <><h3>Messages that may be on two nodes</h3><Table name="messages that may be on two nodes" rows={data.overlaps} id={(o) => `${o.topic} ${o.partition} ${o.from} ${o.kind}`} columns={[
        { head: 'partition', cell: (o) => <b>{o.topic}[{o.partition}]</b> }, { head: 'messages', cell: (o) => (o.to === null ? `${o.from} and a second’s worth after it` : `${o.from} to ${o.to - 1}`) },
        { head: 'why', cell: (o) => (o.kind === 'crash' ? 'this node had died' : o.kind === 'takeover' ? 'taken over from a node that had died' : 'a hand-over the broker did not hear of') },
        { head: 'found', cell: (o) => <When ms={o.found_ms} now={now} />, sort: (o) => o.found_ms },
      ]} /></>}
    </section>
  );
}

/* --- states before there is something to show ---------------------------------------------------- */

export function pasteLines(d: Oncall): string {
  return [`export OTEL_EXPORTER_OTLP_ENDPOINT=${d.address.http}`, 'export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf',
    d.address.needs_key ? 'export OTEL_EXPORTER_OTLP_HEADERS="api-key=YOUR-INGEST-KEY"' : 'export OTEL_SERVICE_NAME=my-service'].join('\n');
}

function Empty({ d, now }: { d: Oncall; now: number }) {
  const lines = pasteLines(d);
  return (
    <section class="empty" data-state="empty">
      <h1><State of="no_data" word="No data yet" /></h1>
      <p>Nothing has arrived since this Telltale was set up ({d.last_received_ms ? <>last received <When ms={d.last_received_ms} now={now} /></> : 'last received: never'}). Three lines in the environment of a service are enough:</p>
      <pre class="paste">{lines}</pre>
      <p><Copy text={lines} label="copy the lines" /> <span class="quiet">gRPC instead: {d.address.grpc}, protocol grpc. This page shows the first call within seconds of its arrival.</span></p>
      <p class="quiet">Nothing at hand that sends? <code>telltale demo</code> plays a fleet of LLM services.</p>
      <Ingest d={d} />
    </section>
  );
}

function NoGenAi({ d, now }: { d: Oncall; now: number }) {
  return (
    <section class="empty" data-state="no_genai">
      <h1><State of="no_data" word="Spans arrive, but no model call among them" /></h1>
      <p>{d.missing}</p>
      <p>What a span of a model call needs at least:</p>
      <pre class="paste">{'gen_ai.operation.name = "chat"\ngen_ai.provider.name  = "openai"\ngen_ai.request.model  = "gpt-4o"\ngen_ai.usage.input_tokens, gen_ai.usage.output_tokens'}</pre>
      <p class="quiet">OpenTelemetry’s GenAI conventions (old and new), OpenLLMetry, OpenInference, OpenLIT, Vercel AI and Langfuse names are all understood. <a href="/traces">Look at the traces that arrived</a> to see what they carry.</p>
      <Freshness rows={d.freshness} now={now} />
      <Ingest d={d} />
    </section>
  );
}

/* --- the page ------------------------------------------------------------------------------------ */

export function OncallPage({ params, answer }: { params: URLSearchParams; answer: { data: Oncall | null; error: import('./api').ApiError | null; at: number; again: () => void } }) {
  const now = useNow(1000);
  const d = answer.data;
  const slo = useMemo(() => d?.slos.find((s) => s.id === params.get('slo')) ?? (d && (worst(d.slos) ?? d.slos[0])) ?? undefined, [d, params]);
  const { data: changed } = useAnswer<{ events: Change[] }>(d && d.state === 'ok' ? href('events', { service: params.get('service') ?? undefined, from: Math.floor(d.from_ms / 60000) * 60000, to: params.get('to') ?? undefined }) : null, false);
  const changes = changed?.events ?? [];
  if (!d) return answer.error ? <main id="main"><Trouble error={answer.error} at={0} now={now} /></main> : <main id="main" aria-busy="true"><p class="quiet">Asking…</p></main>;
  const trouble = answer.error && <Trouble error={answer.error} at={answer.at} now={now} />;
  if (d.state === 'empty') return <main id="main">{trouble}<Empty d={d} now={now} /></main>;
  if (d.state === 'no_genai') return <main id="main">{trouble}<NoGenAi d={d} now={now} /></main>;
  const firing = d.headline.burning > 0;
  const silent = d.live && d.last_received_ms > 0 && now - d.last_received_ms > 120000;
  const filters = (['service', 'model'] as const).filter((n) => params.get(n));
  const without = (name: string) => {
    const p = new URLSearchParams(params);
    p.delete(name);
    return href('/oncall', p);
  };
  return (
    <main id="main" class={answer.error ? 'stale' : ''}>
      {trouble}
      {silent && !answer.error && <p class="notice warn" role="status"><b>◆ No new data since {f.clock(d.last_received_ms, true)} ({f.ago(d.last_received_ms, now)}).</b> Numbers of the last minutes are missing, not zero. See “Data freshness” for who fell silent.</p>}
      <h1 class={`sentence ${firing ? 'bad' : d.headline.pending ? 'warn' : ''}`}>
        <span class="mark" aria-hidden="true">{firing ? '▲' : d.headline.pending ? '◆' : d.headline.no_data === d.headline.total ? '▨' : '✓'}</span> {d.sentence || 'No objective is loaded.'}
      </h1>
      {filters.length > 0 && <p class="filters">Only {filters.map((n) => <span class="chip">{n} <b>{params.get(n)}</b> <a href={without(n)} aria-label={`remove the filter on ${n}`}>×</a></span>)} <span class="quiet">(objectives and alerts are not filtered)</span></p>}
      <Tiles d={d} slo={slo} />
      <Alerts alerts={d.alerts} now={now} done={answer.again} />
      <Silences now={now} alerts={d.alerts} />
      <Slos slos={d.slos} chosen={slo} params={params} />
      {slo && <Past slo={slo} />}
      <section aria-label="pictures">
        <h2>Pictures</h2>
        <div class="charts">
          {slo && <BudgetCharts slo={slo} range={Number(params.get('range') ?? 60)} to={Number(params.get('to') ?? 0)} />}
          <Responsible d={d} params={params} />
          <Traffic d={d} changes={changes} />
        </div>
      </section>
      <Changes rows={changes} now={now} />
      <Models d={d} />
      <Examples d={d} now={now} />
      <Freshness rows={d.freshness} now={now} />
      <Ingest d={d} />
      <Kafka now={now} />
      <footer class="quiet small">Telltale {d.version}, up {f.minutes((d.now_ms - d.start_ms) / 60000)}. Cost of evaluation and synthetic traffic, not in the numbers above: {f.usd(d.traffic.cost_other_planes_nanousd)}.</footer>
    </main>
  );
}
