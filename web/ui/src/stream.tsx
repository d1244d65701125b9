// The token stream of a span: on its bar in the waterfall, and larger, with its numbers, among its details.
import type { TokenStream } from './api';
import * as f from './format';

const at = (ns: number, total: number) => `${Math.max(0, Math.min(100, (ns / total) * 100))}%`;
const longest = (s: TokenStream) => Math.max(0, ...s.stalls.map((x) => x.ns));
const sum = (s: TokenStream) => s.tokens.output + s.tokens.reasoning + s.tokens.tool;

// One path of bars, as high as the bin has tokens; it is stretched to where it is put.
function Density({ stream }: { stream: TokenStream }) {
  const bins = stream.timeline.tokens, top = Math.max(1, ...bins);
  const path = bins.map((n, i) => (n ? `M${i} 1V${1 - Math.max(0.2, n / top)}H${i + 1}V1Z` : '')).join('');
  return <svg class="density" viewBox={`0 0 ${Math.max(1, bins.length)} 1`} preserveAspectRatio="none" aria-hidden="true"><path d={path} /></svg>;
}

// Over the bar: ticks and hatching by place, tokens as a strip below it. total: of the trace.
export function StreamMarks({ stream: s, total }: { stream: TokenStream; total: number }) {
  const covered = s.timeline.bin_ns * s.timeline.tokens.length;
  return (
    <>
      {s.stalls.map((x) => <span class="stall" title={`stalled for ${f.nanos(x.ns)}`} style={{ left: at(s.offset_ns + x.at_ns, total), width: at(x.ns, total) }} />)}
      {covered > 0 && <span class="strip" style={{ left: at(s.offset_ns, total), width: at(covered, total) }}><Density stream={s} /></span>}
      {s.ttft_ns !== null && <span class="first" title={`first token after ${f.nanos(s.ttft_ns)}`} style={{ left: at(s.offset_ns + s.ttft_ns, total) }} />}
    </>
  );
}

// In words, for the row: what is drawn is hidden from a screen reader.
export function StreamWords({ stream: s }: { stream: TokenStream }) {
  return (
    <>
      {s.stall_count > 0 && <span class="mark-text warn"> ‖ {s.stall_count === 1 ? 'stalled' : `${f.exact(s.stall_count)} stalls, longest`} {f.nanos(longest(s))}</span>}
      {s.result !== 'complete' && <span class="mark-text warn"> stream {s.result}</span>}
      <span class="out">, token stream{s.ttft_ns !== null && `, first token after ${f.nanos(s.ttft_ns)}`}{s.tokens_per_second !== null && `, ${f.digits(s.tokens_per_second)} tokens per second`}</span>
    </>
  );
}

export function streamFacts(s: TokenStream): [string, string][] {
  const by = [[s.tokens.output, 'output'], [s.tokens.reasoning, 'reasoning'], [s.tokens.tool, 'tool']] as const;
  return [
    ['stream', s.result + (s.reason ? `: ${s.reason}` : '')],
    ['first token', s.ttft_ns === null ? '' : `after ${f.nanos(s.ttft_ns)}`],
    ['streamed tokens', by.filter(([n]) => n).map(([n, name]) => `${f.exact(n)} ${name}`).join(', ')],
    ['stream speed', s.tokens_per_second === null ? '' : `${f.digits(s.tokens_per_second)} tok/s after the first chunk`],
    ['stalls', s.stall_count === 0 ? 'none' : f.exact(s.stall_count) + ': ' + s.stalls.map((x) => `${f.nanos(x.ns)} at +${f.nanos(x.at_ns)}`).join(', ') + (s.stall_count > s.stalls.length ? ', …' : '')],
    ['mean logprob', s.mean_logprob === null ? '' : f.digits(s.mean_logprob)],
    ['told by', s.source.replaceAll('_', ' ')],
  ];
}

export function StreamPicture({ stream: s }: { stream: TokenStream }) {
  const total = Math.max(1, s.timeline.bin_ns * s.timeline.tokens.length);
  if (!sum(s) || s.timeline.tokens.length < 2) return null;
  const said = `${f.exact(sum(s))} tokens in ${f.nanos(s.duration_ns)}` + (s.ttft_ns === null ? '' : `, the first after ${f.nanos(s.ttft_ns)}`) + (s.stall_count ? `, ${f.exact(s.stall_count)} ${s.stall_count === 1 ? 'stall' : 'stalls'}` : ', no stall');
  return (
    <figure class="stream">
      <figcaption><b>Tokens over time</b> <span class="quiet small">a bar is {f.nanos(s.timeline.bin_ns)}, the highest {f.exact(Math.max(...s.timeline.tokens))} tokens. Line: first token. Hatched: a stall.</span></figcaption>
      <div class="flow" role="img" aria-label={said}>
        {s.stalls.map((x) => <span class="stall" style={{ left: at(x.at_ns, total), width: at(x.ns, total) }} />)}
        <Density stream={s} />
        {s.ttft_ns !== null && <span class="first" style={{ left: at(s.ttft_ns, total) }} />}
      </div>
      <p class="ends quiet small" aria-hidden="true"><span>0</span><span>{f.nanos(s.duration_ns)}</span></p>
    </figure>
  );
}
