// Are answers supported by their documents? One answer sentence by sentence with what comes nearest, and the rates over all.
import { useState } from 'preact/hooks';
import { postJson, type GroundingReport, type GroundingStream, type GroundingService, type Segment, type Verdict } from './api';
import { count, exact, percent } from './format';
import { useAnswer, useNow } from './live';
import { State, Table, Trouble, type Column } from './parts';
import { href } from './url';

const labelWords: Record<string, string> = { supported: 'a person says: supported', hallucinated: 'a person says: not supported', other: 'a person says: cannot be said' };

// Never by colour alone: underlined, and a word before it.
function Sentence({ s, at }: { s: Segment; at: number }) {
  if (!s.unsupported) return <>{s.text}</>;
  return <mark class="unsupported" id={`s${at}`}><span class="tag">unsupported {percent(s.probability, 2)}</span>{s.text}</mark>;
}

function Evidence({ segments, trace }: { segments: Segment[]; trace: string }) {
  const marked = segments.map((s, at) => ({ s, at })).filter(({ s }) => s.unsupported);
  if (!marked.length) return <p class="quiet">Every sentence has support in the documents.</p>;
  return (
    <ol class="evidence">
      {marked.map(({ s, at }) => (
        <li>
          <a href={`#s${at}`}>“{s.text.length > 120 ? s.text.slice(0, 119) + '…' : s.text}”</a>
          {s.evidence.length === 0 && <p class="quiet">Nothing in the documents comes near.</p>}
          {s.evidence.map((e) => (
            <blockquote>{e.text ?? <span class="quiet">its document is not stored, or was changed since</span>}
              <footer class="quiet small">nearest, similarity {e.similarity === null ? '–' : e.similarity.toFixed(2)}{e.span_id && <> · <a href={`/trace/${trace}?span=${e.span_id}`}>its span</a></>}</footer>
            </blockquote>
          ))}
        </li>
      ))}
    </ol>
  );
}

function Buttons({ v, trace, done }: { v: Verdict; trace: string; done: () => void }) {
  const [said, setSaid] = useState('');
  const [label, setLabel] = useState(v.label);
  const say = async (word: string) => {
    try {
      await postJson('feedback', { trace_id: trace, span_id: v.span_id, label: word, annotator: 'page' });
      setLabel(word);
      setSaid('');
      done();
    } catch (e) {
      setSaid(e instanceof Error ? e.message : String(e));
    }
  };
  return (
    <p class="feedback">
      <button type="button" aria-pressed={label === 'hallucinated'} onClick={() => say('hallucinated')}>confirm: not supported</button>{' '}
      <button type="button" aria-pressed={label === 'supported'} onClick={() => say('supported')}>reject: it is supported</button>{' '}
      <span role="status" class={said ? 'bad' : 'quiet'}>{said || (label ? labelWords[label] : '')}</span>
    </p>
  );
}

export function Grounding({ v, trace, done }: { v: Verdict; trace: string; done: () => void }) {
  return (
    <section class="grounding" aria-label="grounding of the answer" data-grounding={v.span_id}>
      <h3>Grounding <State of={v.flagged ? 'pending' : 'ok'} word={v.flagged ? 'probably not supported' : 'supported'} /></h3>
      <p class="quiet small">{v.explanation}. Probability that the answer is not supported: {percent(v.probability, 2)}; the detector itself says {percent(v.model_probability, 2)} and flags from {percent(v.threshold, 2)} on. Detector {v.detector}{v.cut && '; longer than what is judged'}.</p>
      {v.segments ? (
        <div class="judged">
          <div class="answer" role="group" aria-label="the answer">{v.segments.map((s, at) => <Sentence s={s} at={at} />)}</div>
          <Evidence segments={v.segments} trace={trace} />
        </div>
      ) : <p class="quiet">The text that was judged is not stored any more, so its sentences cannot be shown.</p>}
      <Buttons key={v.span_id} v={v} trace={trace} done={done} />
    </section>
  );
}

/* --- all of it --------------------------------------------------------------------------------------- */

const interval = (r: GroundingStream['rate']) => (r ? `${percent(r.rate, 2)} (${percent(r.low, 2)} to ${percent(r.high, 2)})` : '');
const streamState = (s: GroundingStream) => (s.stream.surging ? 'firing' : s.stream.drifting ? 'pending' : s.labels.stale ? 'no_data' : 'ok');
const streamWord = (s: GroundingStream) => (s.stream.surging ? 'surging' : s.stream.drifting ? 'drifting' : s.labels.stale ? 'few labels' : 'steady');
const streams: Column<GroundingStream>[] = [
  { head: 'service', cell: (s) => s.service, sort: (s) => s.service },
  { head: 'model', cell: (s) => s.model, sort: (s) => s.model },
  { head: 'prompt', cell: (s) => s.prompt_version, sort: (s) => s.prompt_version },
  { head: 'not supported', number: true, cell: (s) => (s.rate ? <span title="PPI++ with its 95 % interval">{interval(s.rate)}</span> : <span class="quiet">not known: {s.labels.n} labels, 30 needed</span>), sort: (s) => s.rate?.rate ?? -1, hint: 'from scores and labels together; never the share of flags' },
  { head: 'checked', number: true, cell: (s) => exact(s.judged), sort: (s) => s.judged },
  { head: 'labels', number: true, cell: (s) => exact(s.labels.n), sort: (s) => s.labels.n },
  { head: 'stream', cell: (s) => <State of={streamState(s)} word={streamWord(s)} />, hint: 'its scores against its own first 200' },
  { head: 'mean, baseline', number: true, cell: (s) => `${percent(s.stream.recent, 2)}, ${percent(s.stream.baseline, 2)}`, sort: (s) => s.stream.recent ?? -1 },
];
const services: Column<GroundingService>[] = [
  { head: 'service', cell: (s) => s.service, sort: (s) => s.service },
  { head: 'calls', number: true, cell: (s) => count(s.requests), sort: (s) => s.requests },
  { head: 'checked', number: true, cell: (s) => `${count(s.checked)}${s.checked_share === null ? '' : ` (${percent(s.checked_share, 2)})`}`, sort: (s) => s.checked },
  { head: 'checkable', number: true, cell: (s) => percent(s.checkable_share, 2), sort: (s) => s.checkable_share ?? -1, hint: 'of what was looked at: the rest had no documents' },
  { head: 'unverifiable', number: true, cell: (s) => count(s.unverifiable), sort: (s) => s.unverifiable },
  { head: 'dropped', number: true, cell: (s) => count(s.dropped), sort: (s) => s.dropped },
  { head: 'sample', number: true, cell: (s) => percent(s.sample, 2), sort: (s) => s.sample },
];

export function GroundingPage({ params }: { params: URLSearchParams }) {
  const now = useNow(10000), service = params.get('service') ?? '';
  const { data, error, at } = useAnswer<GroundingReport>(href('grounding', { service, from: params.get('from') ?? '', to: params.get('to') ?? '' }), !params.get('to'));
  return (
    <main id="main">
      <h1>Grounding</h1>
      <p class="quiet">Which answers their documents do not support, in the last day. A rate is told once people have labelled some answers: on a trace's page, or by <code>POST /api/telltale/v1/feedback</code>.</p>
      {error && <Trouble error={error} at={at} now={now} />}
      {data && !data.checker.running && <p class="notice warn" role="status">Answers are not checked{data.checker.error ? `: ${data.checker.error}` : data.checker.enabled ? ' yet.' : ': grounding.enabled is false.'}</p>}
      {data && <section aria-label="streams"><h2>Rates</h2><Table name="rates by service, model and prompt" rows={data.streams} columns={streams} id={(s) => `${s.service} ${s.model} ${s.prompt_version}`} empty="No answer was checked in the last day." /></section>}
      {data && <section aria-label="services"><h2>What was checked</h2><Table name="what was checked, by service" rows={data.services} columns={services} id={(s) => s.service} empty="No calls in the last day." /></section>}
    </main>
  );
}
