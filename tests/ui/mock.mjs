// A stand-in server for states that a live one reaches only after hours: the page's built files and documents of docs/api.md made here.
// node mock.mjs PORT STATE   (ok, quiet, empty, no_genai, silent); also imported by the tests.
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const types = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html' };
export const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

// Deterministic noise, so that two screenshots of one state are alike.
function noise(seed) {
  let s = seed >>> 0;
  return () => ((s = (s * 1664525 + 1013904223) >>> 0) / 2 ** 32);
}

const traceId = (i) => (0xabc0000 + i).toString(16).padStart(32, '5');
const line = (i, now, bad) => ({
  trace_id: traceId(i), service: ['checkout', 'search', 'support-bot'][i % 3], name: ['POST /chat', 'GET /answer', 'summarise'][i % 3], has_root: true,
  start_ms: now - 40000 * (i + 1), duration_ns: 1.1e9 + i * 3.3e8, spans: 4 + i, errors: bad ? 1 : 0, calls: 2, model: i % 2 ? 'gpt-4o' : 'claude-sonnet-4',
  error: bad ? 'rate_limit_exceeded' : '', input_tokens: 1834 + i, output_tokens: 412, cost_nanousd: 10765000 + i * 1000, ttft_ns: 4.2e8 + i * 1e7,
});

export function oncall(state, url) {
  const now = Date.now(), minute = 60000, range = Number(url.searchParams.get('range') ?? 60);
  const to = Number(url.searchParams.get('to') ?? 0) || Math.floor(now / minute) * minute + minute;
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].find((s) => range / s < 120) ?? 720;
  const n = Math.ceil(range / step), from = to - range * minute;
  const r = noise(7), burning = state === 'ok', none = state === 'empty' || state === 'no_genai';
  const t_ms = Array.from({ length: n }, (_, i) => from + i * step * minute);
  const hole = (i) => i > n * 0.3 && i < n * 0.38;
  const quiet = (i) => none || hole(i) || (state === 'silent' && i > n - 8);
  const names = ['gpt-4o', 'claude-sonnet-4', 'gpt-4o-mini', 'llama-3.1-70b', 'text-embedding-3-small'];
  const models = names.map((model, k) => {
    const calls_at = t_ms.map((_, i) => (quiet(i) ? 0 : Math.round((40 - k * 7) * step * (0.8 + 0.4 * r()))));
    const bad_at = calls_at.map((c, i) => Math.round(c * (burning && k === 0 && i > n * 0.7 ? 0.09 : 0.002)));
    const sum = (v) => v.reduce((a, b) => a + b, 0);
    const price = [9e6, 1.1e7, 4e5, 9e5, 2e4][k];
    return {
      model, is_rest: false, calls: { good: sum(calls_at) - sum(bad_at), bad: sum(bad_at), excluded: k }, input_tokens: sum(calls_at) * 900, output_tokens: sum(calls_at) * 210,
      cost_nanousd: sum(calls_at) * price, p50: 0.9 + k * 0.1, p95: 2.1 + k * 0.2, p99: 4.4 + k * 0.3, ttft_p50: 0.3, ttft_p95: 0.9, calls_at, bad_at,
      cost_at: calls_at.map((c) => c * price), tokens_at: calls_at.map((c) => c * 1110),
    };
  });
  const add = (pick) => t_ms.map((_, i) => models.reduce((s, m) => s + pick(m)[i], 0));
  const bad_at = add((m) => m.bad_at), good_at = add((m) => m.calls_at).map((v, i) => v - bad_at[i]);
  const total = (v) => v.reduce((a, b) => a + b, 0);
  const wave = (base) => t_ms.map((_, i) => (quiet(i) ? null : base * (0.85 + 0.3 * r()) * (burning && i > n * 0.7 ? 1.5 : 1)));
  const quantiles = (p50) => ({ n: total(good_at), p50, p95: p50 * 2.3, p99: p50 * 4.1, p50_at: wave(p50), p95_at: wave(p50 * 2.3), p99_at: wave(p50 * 4.1) });
  const calls = { good: total(good_at), bad: total(bad_at), excluded: 10 };
  const totals = {
    minutes: range, calls, requests: { good: 900, bad: 3, excluded: 0 }, latency: quantiles(1.02), ttft: quantiles(0.34), input_tokens: total(good_at) * 900,
    output_tokens: total(good_at) * 210, cache_read_tokens: 1000, reasoning_tokens: 500, cost_nanousd: models.reduce((s, m) => s + m.cost_nanousd, 0),
    cost_other_planes_nanousd: 4.2e7, unpriced_calls: 3,
  };
  const slo = (id, name, target, left, burn, s) => ({
    id, name, service: 'checkout', description: '', is_default: false, indicator: 'availability-call', what: 'calls that ended with a usable answer', state: s, severity: 'page', target,
    threshold_seconds: null, period_minutes: 43200, evaluated_ms: now - 2000, horizon_ms: now - 30000, period: { good: 812345, bad: Math.round((1 - left) * 812345 * (1 - target)), excluded: 1204, missing: 0 },
    sli: 1 - (1 - left) * (1 - target), budget_left: left, burn_1h: burn, burn_24h: burn / 3, exhaustion_minutes: burn > 0.01 ? (left * 43200) / burn : null, coverage: null, quality: 'exact', quality_text: 'exact',
    sentence: '', excluded: [{ reason: 'caller_error', count: 1100 }, { reason: 'quota_denied', count: 104 }], rules: [], revised_minutes: 0, revised_events: 0, budget_since_ms: 0,
  });
  const slos = burning ? [slo('checkout-availability', 'checkout availability', 0.999, 0.41, 21.4, 'firing'), slo('ttft', 'first token within 2 s', 0.95, 0.88, 0.4, 'ok'), slo('latency', 'answer within 20 s', 0.99, 0.97, 0.1, 'ok'), { ...slo('truncation', 'not truncated', 0.999, 1, 0, 'no_data'), sli: null, budget_left: null, burn_1h: null, burn_24h: null, exhaustion_minutes: null, period: { good: 0, bad: 0, excluded: 0 } }]
    : [slo('checkout-availability', 'checkout availability', 0.999, 0.97, 0.3, 'ok'), slo('ttft', 'first token within 2 s', 0.95, 0.88, 0.4, 'ok')];
  const old = state === 'silent' ? 8 * minute : 1500;
  return {
    now_ms: now, from_ms: from, to_ms: to, live: !url.searchParams.get('to'), version: '0.1.0', start_ms: now - 7.3e6,
    address: { grpc: 'http://127.0.0.1:4317', http: 'http://127.0.0.1:4318', web: 'http://127.0.0.1:4320', needs_key: false },
    state: none ? state : 'ok', spans: state === 'empty' ? 0 : 1204, last_received_ms: state === 'empty' ? 0 : now - old,
    missing: state === 'no_genai' ? '1204 spans arrived, and none of them says that it called a model: none carries gen_ai.*, llm.*, ai.* or openinference.* attributes. Turn on the instrumentation of your model client, or set gen_ai.operation.name and gen_ai.request.model on its spans.' : null,
    sentence: burning ? 'checkout: 1 SLO burning, first since 14:03, gpt-4o in eu-west accounts for 91 % of bad calls.' : `All ${slos.length} SLOs are within budget.`,
    headline: { burning: burning ? 1 : 0, pending: 0, no_data: burning ? 1 : 0, total: slos.length, since_ms: burning ? now - 900000 : 0 }, slos,
    alerts: burning ? [{ fingerprint: 'f1', slo: 'checkout-availability', service: 'checkout', rule: '2%-in-1h', severity: 'page', state: 'firing', active_since_ms: now - 900000, fired_ms: now - 840000, resolved_ms: 0, long_burn: 21.4, short_burn: 30.2, factor: 14.4, budget_left: 0.41, exhaustion_minutes: 828, summary: '2 % of the budget in 1 h: burning 21.4× over 1 h and 30.2× over 5 min (page above 14.4×); 41 % left, gone in 13 h 48 min.', sentence: 'gpt-4o in eu-west accounts for 91 % of bad calls', traces: [traceId(0), traceId(1)], long_minutes: 60, short_minutes: 5 }] : [],
    freshness: state === 'empty' ? [] : ['checkout', 'search', 'support-bot'].map((service, i) => ({ service, newest_ms: now - old - 400 - i * 700, received_ms: now - old - (i === 2 ? 130000 : 0), spans: 1000, genai_spans: none ? 0 : 700 })),
    accounts: state === 'empty' ? [] : [{ signal: 'spans', received: 120400, stored: 120394, duplicate: 4, quarantined: 0, rejected: { too_old: 2 } }, { signal: 'samples', received: 9000, stored: 9000, duplicate: 0, quarantined: 0, rejected: {} }],
    services: none ? [] : ['checkout', 'search', 'support-bot'], model_names: none ? [] : names,
    traffic: { ...totals, step_ms: step * minute, t_ms, good_at, bad_at, excluded_at: t_ms.map(() => 0) }, models: none ? [] : models,
    compare: { with: 'same time last week', ...totals, calls: { good: calls.good * 0.9, bad: Math.round(calls.bad * 0.2), excluded: 4 }, cost_nanousd: totals.cost_nanousd * 0.93, latency: { n: 1, p50: 1, p95: 2, p99: 3.9 }, ttft: { n: 1, p50: 0.3, p95: 0.8, p99: 1.2 } },
    responsible: burning ? [{ dim: 'model', value: 'gpt-4o', bad: 231, all: 2400, bad_share: 0.91, all_share: 0.34 }, { dim: 'region', value: 'eu-west', bad: 220, all: 3100, bad_share: 0.87, all_share: 0.41 }, { dim: 'endpoint', value: 'POST /chat', bad: 140, all: 4000, bad_share: 0.55, all_share: 0.5 }] : [],
    examples: { errors: burning ? [0, 1, 2].map((i) => line(i, now, true)) : [], slow: none ? [] : [3, 4, 5].map((i) => line(i, now, false)) },
  };
}

function budget(url) {
  const from = Number(url.searchParams.get('from')), to = Number(url.searchParams.get('to') ?? 0) || Date.now(), n = 60, step = (to - from) / n, r = noise(3);
  const t_ms = Array.from({ length: n }, (_, i) => Math.round(from + (i + 1) * step));
  let left = 0.62;
  return {
    slo: url.searchParams.get('slo'), step_minutes: Math.max(1, Math.round(step / 60000)), threshold: 14.4, long_minutes: 60, short_minutes: 5, t_ms,
    budget_left: t_ms.map((_, i) => (left -= i > n * 0.7 ? 0.011 : 0.0008 * r())), burn_long: t_ms.map((_, i) => (i > n * 0.7 ? 2 + (i - n * 0.7) * 1.3 : 0.6 + 0.3 * r())),
    burn_short: t_ms.map((_, i) => (i > n * 0.7 ? 24 + 8 * r() : r() < 0.1 ? 0 : 0.5 + r())), bad: t_ms.map((_, i) => (i > n * 0.7 ? Math.round(10 + 8 * r()) : r() < 0.2 ? 1 : 0)), eligible: t_ms.map(() => 120),
    forecast: { low_minutes: 480, minutes: 828, high_minutes: null },
  };
}

function trace(id) {
  const now = Date.now(), base = { kind: 'internal', status: 0, status_message: '', orphan: false, scope: 'demo', attributes: [['http.route', '/chat'], ['__proto__', 'x']], resource: [['service.name', 'checkout'], ['cloud.region', 'eu-west']], events: [] };
  const s = (span_id, parent_id, name, depth, offset, duration, more = {}) => ({ ...base, span_id, parent_id, service: 'checkout', name, depth, offset_ns: offset * 1e6, duration_ns: duration * 1e6, critical: true, ...more });
  const genai = (outcome, more = {}) => ({ class: 'call', outcome, fault: outcome === 'ok' ? '' : 'platform', provider: 'openai', operation: 'chat', model: 'gpt-4o', request_model: 'gpt-4o', response_model: 'gpt-4o-2024-11-20', input_tokens: 1834, output_tokens: 412, cache_read_tokens: 1024, cost_nanousd: 8705000, ttft_ns: 4.2e8, stream: true, estimated: false, unpriced: false, finish_reason: 'stop', ...more });
  return {
    summary: { ...line(0, now, true), trace_id: id, spans: 7, duration_ns: 4.21e9 }, now_ms: now,
    spans: [
      s('01', '00', 'POST /chat', 0, 0, 4210, { kind: 'server' }), s('02', '01', 'retrieve context', 1, 12, 310), s('03', '02', 'embeddings text-embedding-3-small', 2, 20, 88, { critical: true, service: 'search', genai: genai('ok', { operation: 'embeddings', model: 'text-embedding-3-small', output_tokens: 0, ttft_ns: undefined }) }),
      s('04', '02', 'vector search', 2, 112, 180, { critical: false, service: 'search' }), s('05', '01', 'chat gpt-4o', 1, 330, 640, { status: 2, status_message: '429 rate limit', critical: false, genai: genai('rate_limited', { output_tokens: undefined, ttft_ns: undefined, error_type: 'rate_limit_exceeded' }) }),
      s('06', '01', 'chat gpt-4o', 1, 1180, 2990, {
        stream: {
          result: 'complete', reason: 'stop', source: 'token_events', offset_ns: 1.18e9, duration_ns: 2.98e9, ttft_ns: 4.2e8, tokens: { output: 412, reasoning: 64, tool: 0 }, tokens_per_second: 186, mean_logprob: -0.31,
          stall_count: 1, stalls: [{ at_ns: 1.1e9, ns: 6.5e8 }], timeline: { bin_ns: 24900000, tokens: Array.from({ length: 120 }, (_, i) => (i < 16 || (i > 44 && i < 70) ? 0 : 3 + (i * 7) % 5)) },
        },
        genai: genai('ok'), attributes: [['gen_ai.input.messages', JSON.stringify([{ role: 'system', parts: [{ type: 'text', content: 'You help customers of a shop.' }] }, { role: 'user', parts: [{ type: 'text', content: 'Where is my order?' }] }])], ['gen_ai.output.messages', JSON.stringify([{ role: 'assistant', parts: [{ type: 'text', content: 'It left our warehouse this morning and arrives tomorrow.' }] }])], ['gen_ai.request.temperature', '0.2']],
        events: [{ time_ns: String(BigInt(line(0, now, true).start_ms) * 1000000n + 1600000000n), name: 'gen_ai.first_token', attributes: [['index', '0']] }],
      }), s('07', '01', 'log answer', 1, 4172, 30),
    ],
  };
}

function verdict(trace_id, label = null) {
  const between = (text) => ({ text, kind: 'between', probability: null, unsupported: false, evidence: [] });
  const sentence = (text, probability, evidence) => ({ text, kind: 'claim', probability, unsupported: probability >= 0.5, evidence });
  return {
    trace_id, span_id: '06', time_ms: Date.now(), probability: 0.91, model_probability: 0.88, flagged: true, threshold: 0.62, inclusion: 0.05, cut: false, detector: 'ground-1', label, question: 'Where is my order?',
    explanation: '1 of 2 sentences are probably not supported by the documents',
    segments: [sentence('It left our warehouse this morning', 0.08, []), between(' '), sentence('and <b>arrives</b> tomorrow.', 0.91, [{ document: 0, span_id: '02', similarity: 0.41, text: 'Delivery takes three to five working days.' }, { document: 1, span_id: '02', similarity: 0.2, text: null }])],
  };
}

function grounding(state) {
  const stream = (service, rate, more = {}) => ({ service, model: 'gpt-4o', prompt_version: 'v7', detector: 'ground-1', judged: 812, flagged: 96, mean_probability: 0.17, rate, rogan_gladen: null, labels: { n: rate ? 140 : 4, hallucinated: rate ? 16 : 1, other: 2, stale: !rate }, calibration: { method: 'platt', a: 0.9, b: -0.1 }, threshold: 0.62, threshold_precision: 0.9, threshold_triage: 0.1, stream: { baseline: 0.12, recent: 0.13, evidence: 3, psi: 0.04, surging: false, drifting: false, since_ms: 0 }, ...more });
  const none = state === 'empty';
  return {
    from_ms: Date.now() - 86400000, to_ms: Date.now(), complete: true, checker: { enabled: true, running: !none, error: none ? 'no model file' : '', detector: 'ground-1', offered: 900, dropped: 3, judged: 812, failed: 0, queue_bytes: 0, cpu_seconds: 31 },
    streams: none ? [] : [stream('support-bot', { rate: 0.114, low: 0.071, high: 0.163, method: 'ppi++' }, { stream: { baseline: 0.12, recent: 0.31, evidence: 2e5, psi: 0.31, surging: true, drifting: true, since_ms: Date.now() - 600000 } }), stream('search', null)],
    services: none ? [] : [{ service: 'support-bot', requests: 16240, checked: 812, flagged: 96, unverifiable: 203, nothing_to_judge: 12, dropped: 3, checked_share: 0.05, checkable_share: 0.8, sample: 0.05 }],
  };
}

export const sessionId = 'fix the/login bug';
function session() {
  const now = Date.now(), sums = (start, end, calls, tools, more = {}) => ({
    start_ms: now - start, end_ms: now - end, calls, failed_calls: 0, tools, tools_by: { ok: tools, error: 0, rejected: 0, aborted: 0, timeout: 0 }, compactions: 0, handoffs: 0, input_tokens: calls * 20000, output_tokens: calls * 400,
    cache_read_tokens: calls * 15000, cost_nanousd: calls * 31200000, reported_cost_nanousd: calls * 31000000, unpriced: 0, context_tokens: 61000, model: 'claude-sonnet-4-5', trace_id: null, ...more,
  });
  const step = (kind, turn, t, more = {}) => ({ kind, turn, start_ms: now - 600000 + t, duration_ns: 4.2e9, name: '', word: '', agent: '', outcome: '', lane: '', log: true, input_tokens: null, output_tokens: null, cache_read_tokens: null, cost_nanousd: null, trace_id: '0'.repeat(32), span_id: '0'.repeat(16), ...more });
  const call = (turn, t, input, more = {}) => step('call', turn, t, { name: 'claude-sonnet-4-5', outcome: 'ok', lane: 'main', input_tokens: input, output_tokens: 400, cache_read_tokens: input / 2, cost_nanousd: 31200000, ...more });
  const steps = [step('prompt', 0, 0), ...[12, 30, 61, 90, 118, 150].map((k, i) => call(0, 5000 + i * 9000, k * 1000)), step('tool', 0, 9000, { name: 'Bash', outcome: 'ok' }), step('tool', 0, 20000, { name: '<img src=x>', outcome: 'error' }),
    step('compaction', 0, 60000, { word: 'auto', input_tokens: 150000, output_tokens: 20000 }), step('prompt', 1, 90000), call(1, 95000, 24000), call(1, 120000, 61000, { trace_id: traceId(0), span_id: '0600000000000000', log: false }), call(1, 125000, 900, { lane: 'auxiliary', name: 'claude-haiku-4-5' }),
    step('tool', 1, 130000, { name: 'Write', outcome: 'rejected' })].sort((a, b) => a.start_ms - b.start_ms);
  const whole = sums(600000, 400000, 9, 3, { failed_calls: 1, compactions: 1, tools_by: { ok: 1, error: 1, rejected: 1, aborted: 0, timeout: 0 } });
  return { session: { id: sessionId, service: 'claude-code', turns: 2, ...whole }, turns: [sums(600000, 530000, 6, 2, { compactions: 1, tools_by: { ok: 1, error: 1, rejected: 0, aborted: 0, timeout: 0 } }), sums(510000, 400000, 3, 1, { failed_calls: 1, tools_by: { ok: 0, error: 0, rejected: 1, aborted: 0, timeout: 0 } })], steps, complete: true, now_ms: now };
}

// What people did about the alert.
function withActs(o, server) {
  const silenced_by = (server.silences ?? []).map((s) => ({ id: s.id, author: s.createdBy, comment: s.comment, ends_ms: Date.parse(s.endsAt) }));
  return { ...o, alerts: o.alerts.map((a) => ({ ...a, changed: '14:02 UTC deploy: checkout 1.8.2 (bad: 0.3 % before, 6.1 % after)', labels: { alertname: 'SLOBurnRate', slo: a.slo, service: a.service, rule: a.rule, severity: a.severity }, annotations: { runbook: 'http://127.0.0.1:4320/runbooks/errors' }, acknowledged: server.acknowledged ?? null, silenced_by, muted_by: [] })) };
}

export function startMock(state, port = 0) {
  const dir = mkdtempSync(join(tmpdir(), 'telltale-ui-'));
  const built = spawnSync(process.execPath, [join(here, '../../web/ui/build.mjs'), '--dir', dir], { stdio: 'inherit' });
  if (built.status !== 0) throw new Error('the page does not build');
  const server = createServer((req, res) => {
    const url = new URL(req.url, 'http://mock');
    const headers = { 'Content-Security-Policy': policy, 'X-Content-Type-Options': 'nosniff' };
    const json = (body, status = 200) => res.writeHead(status, { ...headers, 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    const path = url.pathname, api = '/api/telltale/v1/';
    if (path === '/') return res.writeHead(302, { Location: '/oncall' }).end();
    if (path === api + 'oncall') return server.fail ? json({ status: 'error', error: server.fail.error }, server.fail.status) : json(withActs(oncall(server.state, url), server));
    const taken = (then) => {
      let body = '';
      req.on('data', (c) => (body += c)).on('end', () => then(body && JSON.parse(body)));
    };
    if (path === api + 'events') return json({ events: oncall(server.state, url).headline.burning ? [{ at_ms: Date.now() - 20 * 60000, kind: 'deploy', found: false, service: 'checkout', title: 'checkout 1.8.2', version: '1.8.2', model: '', before: '', link: 'https://ci.example.com/42', by: 'ci', share: null }, { at_ms: Date.now() - 19 * 60000, kind: 'version', found: true, service: 'checkout', title: '1.8.2', version: '1.8.2', model: '', before: '1.8.1', link: '', by: '', share: 0.98 }] : [] });
    if (path === api + 'alerts/f1/acknowledge') return taken((body) => { server.acknowledged = { by: body.by, at_ms: Date.now() }; json({ status: 'acknowledged' }); });
    if (path === '/api/v2/silences' && req.method === 'POST') return taken((body) => { (server.silences ??= []).push({ ...body, id: 's1', status: { state: 'active' } }); json({ silenceID: 's1' }); });
    if (path === '/api/v2/silences') return json(server.silences ?? []);
    if (path === '/api/v2/silence/s1' && req.method === 'DELETE') { server.silences = []; return res.writeHead(200, headers).end(); }
    if (path === api + 'budgets') return json(budget(url));
    if (path === api + 'traces') return json({ traces: [0, 1, 2, 3].map((i) => line(i, Date.now(), i < 2)) });
    if (path.startsWith(api + 'traces/')) return path.endsWith('0') || path.length > 40 ? json(trace(path.split('/').pop())) : json({ status: 'error', error: 'no trace of this id is stored' }, 404);
    if (path.startsWith(api + 'grounding/traces/')) return json({ verdicts: [verdict(path.split('/').pop(), server.label)] });
    if (path === api + 'grounding') return json(grounding(server.state));
    if (path === api + 'feedback') {
      let body = '';
      req.on('data', (c) => (body += c)).on('end', () => { server.feedback = JSON.parse(body); server.label = server.feedback.label; json({ ...server.feedback, judged: true, new: true, changed: false }); });
      return;
    }
    if (path === api + 'sessions') return json({ sessions: [session().session, { ...session().session, id: 'cx-2', service: 'codex_cli_rs', unpriced: 3 }], complete: server.state !== 'much', now_ms: Date.now() });
    if (path.startsWith(api + 'sessions/')) return decodeURIComponent(path.slice((api + 'sessions/').length)) === sessionId ? json(session()) : json({ status: 'error', error: 'no session of this id is stored' }, 404);
    if (path === api + 'session') { server.fail = null; return json({ status: 'signed in' }); }
    if (path === api + 'stream') { res.writeHead(200, { ...headers, 'Content-Type': 'text/event-stream' }); res.write('retry: 500\n\n'); return; }
    const file = path.startsWith('/assets/') ? path : '/index.html';
    try {
      res.writeHead(200, { ...headers, 'Content-Type': types[extname(file)] }).end(readFileSync(join(dir, file)));
    } catch {
      res.writeHead(404).end();
    }
  });
  server.state = state;
  return new Promise((done) => server.listen(port, '127.0.0.1', () => done(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await startMock(process.argv[3] ?? 'ok', Number(process.argv[2] ?? 0));
  console.log(`http://127.0.0.1:${server.address().port}/oncall`);
}
