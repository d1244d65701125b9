// Traces that answer a question: service, operation, model, failed, slow, any attribute.
import type { TraceLine } from './api';
import { useAnswer, useNow } from './live';
import { traceColumns } from './oncall';
import { Table, Trouble } from './parts';
import { go, href } from './url';

const fields = ['service', 'operation', 'model', 'min_ms', 'tag'] as const;

// "key=value other=x" as the API's JSON object.
function tagsJson(text: string): string | undefined {
  const out: Record<string, string> = Object.create(null);
  for (const m of text.matchAll(/([^\s=]+)=(?:"([^"]*)"|(\S+))/g)) out[m[1]] = m[2] ?? m[3];
  return Object.keys(out).length ? JSON.stringify(out) : undefined;
}

export function TracesPage({ params }: { params: URLSearchParams }) {
  const now = useNow(1000);
  const value = (n: string) => params.get(n) ?? '';
  const query = href('traces', {
    service: value('service'), operation: value('operation'), model: value('model'), min_ms: value('min_ms'), errors: value('errors'),
    calls: value('calls'), from: value('from'), to: value('to'), tags: tagsJson(value('tag')), limit: value('limit') || 50,
  });
  const { data, error, at, asking } = useAnswer<{ traces: TraceLine[] }>(query, !params.get('to'));
  const submit = (e: Event) => {
    e.preventDefault();
    const form = new FormData(e.currentTarget as HTMLFormElement);
    const q: Record<string, string> = {};
    for (const n of [...fields, 'errors', 'calls']) {
      const v = String(form.get(n) ?? '').trim();
      if (v) q[n] = v;
    }
    go(href('/traces', q));
  };
  return (
    <main id="main" class={error && at ? 'stale' : ''}>
      <h1>Traces</h1>
      <form class="ask" onSubmit={submit} key={params.toString()}>
        <label>service<input name="service" defaultValue={value('service')} /></label>
        <label>operation<input name="operation" defaultValue={value('operation')} /></label>
        <label>model<input name="model" defaultValue={value('model')} /></label>
        <label>slower than, ms<input name="min_ms" inputMode="numeric" pattern="[0-9]*" defaultValue={value('min_ms')} /></label>
        <label>attributes<input name="tag" placeholder="key=value …" defaultValue={value('tag')} /></label>
        <label class="check"><input type="checkbox" name="errors" value="1" defaultChecked={value('errors') === '1'} /> failed only</label>
        <label class="check"><input type="checkbox" name="calls" value="1" defaultChecked={value('calls') === '1'} /> with a model call</label>
        <button type="submit">Search</button>
      </form>
      {error && <Trouble error={error} at={at} now={now} />}
      {data ? <Table name="traces found" rows={data.traces} columns={traceColumns(now)} id={(t) => t.trace_id} open={(t) => `/trace/${t.trace_id}`} empty="No stored trace answers this. Fewer conditions, or a longer time, may." />
        : asking && <p class="quiet">Asking…</p>}
    </main>
  );
}
