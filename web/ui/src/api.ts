// The documents of docs/api.md, and how they are fetched.

export interface Counts { good: number; bad: number; excluded: number; missing?: number }
export interface Quantiles {
  n: number; p50: number | null; p95: number | null; p99: number | null;
  p50_at?: (number | null)[]; p95_at?: (number | null)[]; p99_at?: (number | null)[];
}
export interface Totals {
  minutes: number; calls: Counts; requests: Counts; latency: Quantiles; ttft: Quantiles;
  input_tokens: number; output_tokens: number; cache_read_tokens: number; reasoning_tokens: number;
  cost_nanousd: number; cost_other_planes_nanousd: number; unpriced_calls: number;
}
export interface Traffic extends Totals {
  step_ms: number; t_ms: number[]; good_at: number[]; bad_at: number[]; excluded_at: number[];
}
export interface Model {
  model: string; is_rest: boolean; calls: Counts; input_tokens: number; output_tokens: number; cost_nanousd: number;
  p50: number | null; p95: number | null; p99: number | null; ttft_p50: number | null; ttft_p95: number | null;
  calls_at: number[]; bad_at: number[]; cost_at: number[]; tokens_at: number[];
}
export interface Rule {
  name: string; severity: string; long_minutes: number; short_minutes: number; factor: number;
  long_burn: number | null; short_burn: number | null; state: string; why_refused: string | null; active_since_ms: number;
}
export interface Slo {
  id: string; name: string; service: string; description: string; is_default: boolean; indicator: string; what: string;
  state: string; severity: string; target: number; threshold_seconds: number | null; period_minutes: number;
  evaluated_ms: number; horizon_ms: number; period: Counts; sli: number | null; budget_left: number | null;
  burn_1h: number | null; burn_24h: number | null; exhaustion_minutes: number | null; coverage: number | null;
  quality: string; quality_text: string; sentence: string; excluded: { reason: string; count: number }[]; rules: Rule[];
}
export interface Alert {
  fingerprint: string; slo: string; service: string; rule: string; severity: string; state: string;
  active_since_ms: number; fired_ms: number; resolved_ms: number; long_burn: number | null; short_burn: number | null;
  factor: number; budget_left: number | null; exhaustion_minutes: number | null; summary: string; sentence: string; changed: string;
  traces: string[]; labels: Record<string, string>; annotations: Record<string, string>;
  acknowledged: { by: string; at_ms: number } | null; silenced_by: Cover[]; muted_by: Cover[];
}
export interface Cover { id: string; author: string; comment: string; ends_ms: number }
// Of Alertmanager's API.
export interface Silence {
  id: string; status: { state: string }; createdBy: string; comment: string; startsAt: string; endsAt: string;
  matchers: { name: string; value: string; isRegex: boolean; isEqual: boolean }[];
}
export interface Change {
  at_ms: number; kind: string; found: boolean; service: string; title: string; version: string; model: string; before: string; link: string; by: string; share: number | null;
}
export interface PastAlert {
  rule: string; severity: string; told: boolean; start_ms: number; fired_ms: number; resolved_ms: number; long_burn: number | null; short_burn: number | null;
  peak_burn: number | null; factor: number; budget_left: number | null; phrase: string;
}
export interface Backtest {
  id: string; from_ms: number; to_ms: number; data_from_ms: number; counts: Counts; exact_share: number | null; pages: number; tickets: number; cut: boolean; alerts: PastAlert[];
}
// null: not at this rate.
export interface Forecast { low_minutes: number | null; minutes: number | null; high_minutes: number | null }
export interface Fresh { service: string; newest_ms: number; received_ms: number; spans: number; genai_spans: number }
export interface Account {
  signal: string; received: number; stored: number; duplicate: number; quarantined: number;
  rejected: Record<string, number>;
}
export interface KafkaMessage {
  topic: string; partition: number; offset: number; signal: string; time_ms: number; size: number; kept: number; reason: string; replayed: boolean;
}
export interface KafkaOverlap { topic: string; partition: number; from: number; to: number | null; kind: string; other: string; found_ms: number }
export interface KafkaTrouble { messages: KafkaMessage[]; overlaps: KafkaOverlap[] }
export interface TraceLine {
  trace_id: string; service: string; name: string; has_root: boolean; start_ms: number; duration_ns: number; spans: number;
  errors: number; calls: number; model: string; error: string; input_tokens: number | null; output_tokens: number | null;
  cost_nanousd: number | null; ttft_ns: number | null;
}
export interface Share { dim: string; value: string; bad: number; all: number; bad_share: number; all_share: number }
export interface Oncall {
  now_ms: number; from_ms: number; to_ms: number; live: boolean; version: string; start_ms: number;
  address: { grpc: string; http: string; web: string; needs_key: boolean };
  state: 'ok' | 'no_genai' | 'empty'; spans: number; last_received_ms: number; missing: string | null;
  sentence: string; headline: { burning: number; pending: number; no_data: number; total: number; since_ms: number };
  slos: Slo[]; alerts: Alert[]; freshness: Fresh[]; accounts: Account[]; services: string[]; model_names: string[];
  traffic: Traffic; models: Model[]; compare: (Totals & { with: string }) | null; responsible: Share[];
  examples: { errors: TraceLine[]; slow: TraceLine[] };
}
export interface Budget {
  slo: string; step_minutes: number; threshold: number | null; long_minutes: number; short_minutes: number; t_ms: number[];
  budget_left: (number | null)[]; burn_long: (number | null)[]; burn_short: (number | null)[]; bad: number[]; eligible: number[];
  forecast: Forecast | null;
}
export interface CostSums {
  cost_nanousd: number; calls: number; input_tokens: number; output_tokens: number; unpriced_calls: number; estimated_calls: number;
}
export interface CostRow extends CostSums { value: string; is?: 'unattributed' | 'other'; days_nanousd?: number[] }
export interface Costs {
  by: string; from_ms: number; to_ms: number; values: number; total: CostSums; total_days_nanousd?: number[]; first_day_ms: number;
  unattributed: CostSums; other: CostSums; below_top: CostSums; exact: boolean; error_nanousd: number; rows: CostRow[];
}
export interface BudgetRow {
  budget: string; by: string; key: string; unit: 'usd' | 'tokens' | 'calls'; spent_share: number; window: string; window_kind: 'rolling' | 'calendar';
  window_start_ms: number; reset_ms: number | null; hard: boolean; fail_open: boolean; untracked: boolean;
  spent_nanousd?: number; limit_nanousd?: number; forecast_nanousd?: number; spent_tokens?: number; limit_tokens?: number; forecast_tokens?: number;
  spent_calls?: number; limit_calls?: number; forecast_calls?: number;
}
export interface GenAi {
  class: string; outcome: string; fault: string; stream: boolean; estimated: boolean; unpriced: boolean;
  [key: string]: string | number | boolean | undefined;
}
// What token events told of a span: at_ns, ttft_ns and bins count from the stream's start, offset_ns from the trace's.
export interface TokenStream {
  result: string; reason: string; source: string; offset_ns: number; duration_ns: number; ttft_ns: number | null;
  tokens: { output: number; reasoning: number; tool: number }; tokens_per_second: number | null; mean_logprob: number | null;
  stall_count: number; stalls: { at_ns: number; ns: number }[]; timeline: { bin_ns: number; tokens: number[] };
}
export interface Span {
  span_id: string; parent_id: string; service: string; name: string; kind: string; status: number; status_message: string;
  offset_ns: number; duration_ns: number; depth: number; critical: boolean; orphan: boolean; scope: string; genai?: GenAi; stream?: TokenStream;
  attributes: [string, string][]; resource: [string, string][];
  events: { time_ns: string; name: string; attributes: [string, string][] }[];
}
export interface Trace { summary: TraceLine; spans: Span[] }

export interface Sums {
  start_ms: number; end_ms: number; calls: number; failed_calls: number; tools: number;
  tools_by: { ok: number; error: number; rejected: number; aborted: number; timeout: number };
  compactions: number; handoffs: number; input_tokens: number; output_tokens: number; cache_read_tokens: number;
  cost_nanousd: number; reported_cost_nanousd: number; unpriced: number; context_tokens: number | null; model: string; trace_id: string | null;
}
export interface SessionLine extends Sums { id: string; service: string; turns: number }
export interface Step {
  kind: 'call' | 'tool' | 'prompt' | 'compaction' | 'connection' | 'handoff'; turn: number; start_ms: number; duration_ns: number | null;
  name: string; word: string; agent: string; outcome: string; lane: string; log: boolean;
  input_tokens: number | null; output_tokens: number | null; cache_read_tokens: number | null; cost_nanousd: number | null;
  trace_id: string; span_id: string;
}
export interface Session { session: SessionLine; turns: Sums[]; steps: Step[]; complete: boolean; now_ms: number }
export interface Segment {
  text: string; kind: string; probability: number | null; unsupported: boolean;
  evidence: { document: number; span_id: string; similarity: number | null; text: string | null }[];
}
export interface Verdict {
  trace_id: string; span_id: string; time_ms: number; probability: number; model_probability: number; flagged: boolean; threshold: number | null; inclusion: number;
  cut: boolean; detector: string; explanation: string; label: string | null; question: string; segments: Segment[] | null;
}
export interface Interval { rate: number; low: number; high: number; method: string }
export interface GroundingStream {
  service: string; model: string; prompt_version: string; detector: string; judged: number; flagged: number; mean_probability: number | null;
  rate: Interval | null; rogan_gladen: Interval | null; labels: { n: number; hallucinated: number; other: number; stale: boolean };
  stream: { baseline: number | null; recent: number | null; evidence: number | null; psi: number | null; surging: boolean; drifting: boolean; since_ms: number };
}
export interface GroundingService {
  service: string; requests: number; checked: number; flagged: number; unverifiable: number; nothing_to_judge: number; dropped: number;
  checked_share: number | null; checkable_share: number | null; sample: number;
}
export interface GroundingReport {
  from_ms: number; to_ms: number; services: GroundingService[]; streams: GroundingStream[]; complete: boolean;
  checker: { enabled: boolean; running: boolean; error: string; detector: string };
}

const base = '/api/telltale/v1/';

// What went wrong, for a person: status 0 means that no server answered.
export class ApiError extends Error {
  constructor(public status: number, message: string) { super(message); }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(base + path, { signal, headers: { Accept: 'application/json' } });
  } catch (e) {
    if (signal?.aborted) throw e;
    throw new ApiError(0, 'Telltale does not answer.');
  }
  if (!answer.ok) throw new ApiError(answer.status, await reason(answer));
  return answer.json() as Promise<T>;
}

async function reason(answer: Response): Promise<string> {
  try {
    const body = await answer.json();
    return String(body.error ?? body.message ?? answer.statusText);
  } catch {
    return answer.statusText || `HTTP ${answer.status}`;
  }
}

export async function post(path: string): Promise<void> {
  const answer = await fetch(base + path, { method: 'POST' });
  if (!answer.ok) throw new ApiError(answer.status, await reason(answer));
}

export async function postJson(path: string, body: unknown): Promise<void> {
  const answer = await fetch(base + path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  if (!answer.ok) throw new ApiError(answer.status, await reason(answer));
}

// Alertmanager's API, of the same server: errors are JSON strings there.
export async function alertmanager<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(`/api/v2/${path}`, { method, headers: body ? { 'Content-Type': 'application/json' } : {}, body: body ? JSON.stringify(body) : undefined });
  const text = await answer.text();
  if (!answer.ok) {
    let why = text || answer.statusText;
    try {
      const said = JSON.parse(text);
      why = typeof said === 'string' ? said : String(said.message ?? said.error ?? why);
    } catch { /* plain text */ }
    throw new ApiError(answer.status, why);
  }
  return (text ? JSON.parse(text) : undefined) as T;
}

export async function signIn(key: string): Promise<void> {
  const answer = await fetch(base + 'session', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ key }),
  });
  if (!answer.ok) throw new ApiError(answer.status, await reason(answer));
}

export const signOut = () => fetch(base + 'session', { method: 'DELETE' });
