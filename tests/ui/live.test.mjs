// The page against the real program, fed over OTLP: what was sent is what it shows.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { startServer } from '../e2e/server.mjs';
import { closeBrowser, open } from './browser.mjs';

let server, page;
before(async () => {
  server = await startServer();
  page = await open();
});
after(async () => {
  await closeBrowser();
  await server?.stop().catch((e) => console.error(e));
});

const attribute = (key, value) => ({ key, value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value } });
const attributes = (o) => Object.entries(o).map(([k, v]) => attribute(k, v));
function span(traceId, spanId, parentSpanId, name, startMs, tookMs, more = {}, failed = false) {
  return { traceId, spanId, parentSpanId, name, kind: 3, startTimeUnixNano: `${startMs}000000`, endTimeUnixNano: `${startMs + tookMs}000000`, attributes: attributes(more), status: failed ? { code: 2, message: 'refused' } : {} };
}
async function send(service, spans) {
  const body = { resourceSpans: [{ resource: { attributes: attributes({ 'service.name': service }) }, scopeSpans: [{ scope: { name: 'test' }, spans }] }] };
  const answer = await fetch(`${server.otlpHttp}/v1/traces`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.text());
}
const hex = (n) => randomBytes(n).toString('hex');
const tile = (name) => page.textContent(`[data-tile=${name}]`);

test('before anything arrived: three lines with this server’s own address', async () => {
  await page.goto(`${server.web}/`);
  await page.waitForSelector('[data-state=empty]');
  assert.equal(new URL(page.url()).pathname, '/oncall');
  assert.ok((await page.textContent('.paste')).includes(`OTEL_EXPORTER_OTLP_ENDPOINT=${server.otlpHttp}`));
});

test('spans without a model call: the page says what is missing, without a reload', async () => {
  await send('plain', [span(hex(16), hex(8), '', 'GET /', Date.now() - 50, 20, { 'http.route': '/' })]);
  await page.waitForSelector('[data-state=no_genai]', { timeout: 15000 });
  assert.match(await page.textContent('[data-state=no_genai]'), /1 spans? arrived/);
});

const calls = 25, refused = 3, failedTrace = hex(16);
test('the numbers are those that were sent', async () => {
  const now = Date.now(), spans = [];
  for (let i = 0; i < calls; i++) {
    const bad = i < refused, trace = i === 0 ? failedTrace : hex(16), root = hex(8);
    spans.push(span(trace, root, '', 'POST /chat', now - 2200, 2100, { 'http.route': '/chat' }, bad));
    spans.push(span(trace, hex(8), root, 'chat gpt-4o', now - 2100, 1000 + i * 40, {
      'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'openai', 'gen_ai.request.model': 'gpt-4o',
      ...(bad ? { 'error.type': '429', 'http.response.status_code': 429 } : { 'gen_ai.response.model': 'gpt-4o-2024-11-20', 'gen_ai.usage.input_tokens': 100, 'gen_ai.usage.output_tokens': 20, 'gen_ai.response.finish_reasons': 'stop', 'gen_ai.output.messages': JSON.stringify([{ role: 'assistant', parts: [{ type: 'text', content: '<img src=x onerror=alert(1)>' }] }]) }),
    }, bad));
  }
  await send('checkout', spans);
  await page.waitForSelector('h1.sentence', { timeout: 15000 });
  await page.waitForFunction((n) => document.querySelector('[data-tile=calls]')?.textContent.includes(`${n} calls`), calls, { timeout: 15000 });
  assert.match(await tile('errors'), new RegExp(`${refused} of ${calls} calls`));
  assert.match(await tile('tokens'), new RegExp(`${((calls - refused) * 100).toLocaleString('en-US')} in, ${(calls - refused) * 20} out`));
  const model = page.locator('[data-section=models] tr', { hasText: 'gpt-4o' });
  assert.match(await model.locator('td').nth(1).textContent(), new RegExp(`^${calls}$`));
  assert.match(await model.locator('td').nth(2).textContent(), new RegExp(`^${refused}$`));
  assert.match(await model.locator('td').nth(10).textContent(), /^\$0\.0\d+/);
  assert.match(await page.textContent('[data-section=freshness]'), /checkout✓ fresh/);
  assert.match(await page.textContent('[data-section=ingest]'), new RegExp(`spans${1 + 2 * calls}${1 + 2 * calls}00`));
  await page.waitForSelector('.plot canvas');
});

test('three clicks from the page to the words of the call that failed', async () => {
  await page.locator('[data-section=examples] tr[data-row] a').first().click();
  await page.waitForURL(/\/trace\/[0-9a-f]{32}/);
  await page.waitForSelector('.waterfall a.span');
  assert.equal(await page.locator('.waterfall a.span').count(), 2);
  assert.match(await page.textContent('.detail'), /rate limited/);
  assert.match(await page.textContent('.detail'), /429/);
});

test('text from telemetry stays text', async () => {
  await page.goto(`${server.web}/traces?service=checkout&model=gpt-4o`);
  await page.waitForSelector('tr[data-row]');
  await page.locator('tr[data-row]', { hasText: 'ok' }).first().locator('a').click();
  await page.waitForSelector('.messages');
  assert.match(await page.textContent('.messages'), /<img src=x onerror=alert\(1\)>/);
  assert.equal(await page.locator('.messages img').count(), 0);
});

test('a trace with many matching spans hides no other from a search', async () => {
  const small = hex(16), large = hex(16), now = Date.now();
  await send('crowd', [span(small, hex(8), '', 'one', now - 9000, 10)]);
  await send('crowd', Array.from({ length: 40 }, (_, i) => span(large, hex(8), '', 'many', now - 5000 + i, 10)));
  const { traces } = await (await fetch(`${server.web}/api/telltale/v1/traces?service=crowd&limit=2`)).json();
  assert.deepEqual(traces.map((t) => [t.trace_id, t.spans]), [[large, 40], [small, 1]]);
});

// 40 tokens in the first second after the first one, nothing for 15 s, 20 more; the span says nothing of it.
const streamTrace = hex(16), streamSpan = hex(8);
test('a token stream is drawn on its span: first token, stall and speed', async () => {
  const start = Date.now() - 20000, events = [];
  const event = (ms, more) => events.push({ time_unix_nano: `${start + ms}000000`, ...more });
  event(0, { kind: 'start' });
  for (let i = 0; i <= 40; i++) event(500 + 25 * i, i ? {} : { tokens: 2 });
  for (let i = 0; i < 20; i++) event(16500 + 25 * i, { logprob_sum: -0.5 });
  event(17000, { kind: 'end', finish_reason: 'stop' });
  await send('streams', [span(streamTrace, streamSpan, '', 'chat gpt-4o', start, 17000, { 'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'openai', 'gen_ai.request.model': 'gpt-4o-stream' })]);
  const body = JSON.stringify({ service: 'streams', streams: [{ trace_id: streamTrace, span_id: streamSpan, events: events.reverse() }] });
  const taken = await fetch(`${server.otlpHttp}/v1/tokens`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  assert.equal(taken.status, 200, await taken.text());
  let stream;
  for (const until = Date.now() + 20000; !stream && Date.now() < until; await new Promise((r) => setTimeout(r, 250)))
    stream = (await (await fetch(`${server.web}/api/telltale/v1/traces/${streamTrace}`)).json()).spans[0].stream;
  assert.ok(stream, 'the stream is closed and found');
  const { timeline, ...rest } = stream;
  assert.deepEqual({ ...rest, tokens_per_second: Math.round(rest.tokens_per_second * 1000) }, {
    result: 'complete', reason: 'stop', source: 'token_events', offset_ns: 0, duration_ns: 17e9, ttft_ns: 5e8, tokens: { output: 62, reasoning: 0, tool: 0 },
    tokens_per_second: Math.round(60 / 16.475 * 1000), mean_logprob: -0.5, stall_count: 1, stalls: [{ at_ns: 1.5e9, ns: 15e9 }],
  });
  assert.equal(timeline.tokens.reduce((a, b) => a + b, 0), 62);
  assert.ok(timeline.tokens.length <= 120 && timeline.tokens.length * timeline.bin_ns >= 17e9);
  const bin = (ns) => Math.floor(ns / timeline.bin_ns);
  assert.equal(timeline.tokens[bin(5e8)] > 0, true);
  assert.deepEqual(timeline.tokens.slice(bin(1.5e9) + 1, bin(16.5e9)).filter(Boolean), [], 'no token in the stall');
  await page.goto(`${server.web}/trace/${streamTrace}`);
  await page.waitForSelector('.track .first');
  assert.match(await page.textContent('a.span'), /‖ stalled 15 s/);
  assert.match(await page.textContent('.facts'), /first tokenafter 500 ms.*stream speed3\.64 tok\/s.*stalls1: 15 s at \+1\.5 s/s);
  const [track, first, stall] = await Promise.all(['.track', '.track .first', '.track .stall'].map((s) => page.locator(s).boundingBox()));
  assert.ok(Math.abs((first.x + first.width / 2 - track.x) / track.width - 0.5 / 17) < 0.01, 'the tick stands at the first token');
  assert.ok(Math.abs(stall.width / track.width - 15 / 17) < 0.02 && Math.abs((stall.x - track.x) / track.width - 1.5 / 17) < 0.02, 'the hatching covers the stall');
  assert.match(await page.getAttribute('.flow', 'aria-label'), /^62 tokens in 17 s, the first after 500 ms, 1 stall$/);
});

// Every member that the contract promises is there and of its type.
function breaches(contract, schema, value, at) {
  if (schema.$ref) return breaches(contract, contract.components.schemas[schema.$ref.split('/').pop()], value, at);
  if (schema.allOf) return schema.allOf.flatMap((s) => breaches(contract, s, value, at));
  if (schema.oneOf) return schema.oneOf.some((s) => !breaches(contract, s, value, at).length) ? [] : [`${at}: none of the forms`];
  if (schema.enum) return schema.enum.includes(value) ? [] : [`${at}: ${value}`];
  const type = value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;
  const allowed = [schema.type ?? type].flat();
  if (!allowed.includes(type) && !(type === 'integer' && allowed.includes('number'))) return [`${at}: ${type} instead of ${allowed}`];
  if (type === 'array') return value.flatMap((v, i) => breaches(contract, schema.items ?? {}, v, `${at}[${i}]`));
  if (type !== 'object') return [];
  return [...(schema.required ?? []).filter((k) => !(k in value)).map((k) => `${at}.${k}: missing`),
    ...Object.entries(schema.properties ?? {}).filter(([k]) => k in value).flatMap(([k, s]) => breaches(contract, s, value[k], `${at}.${k}`))];
}

test('answers keep the contract that the server itself serves', async () => {
  const api = `${server.web}/api/telltale/v1/`, json = async (path) => (await fetch(api + path)).json();
  const contract = await json('openapi.json');
  const { slos } = await json('slos');
  assert.ok(slos.length > 0);
  for (const path of ['oncall', 'slos', `slos/${slos[0].id}`, `slos/${slos[0].id}/backtest?since=1h`, `slos/${slos[0].id}/explain`, `budgets?slo=${slos[0].id}`, 'alerts', 'events', 'traces?calls=1', 'sessions?by=cost', `traces/${failedTrace}`, `traces/${streamTrace}`, 'count?signal=spans', 'accounts', 'freshness', 'keys', 'quarantine', 'quarantine/messages']) {
    const route = Object.keys(contract.paths).find((p) => new RegExp(`^${p.replace(/\{\w+\}/g, '.+')}$`).test('/api/telltale/v1/' + path.split('?')[0]) && (p.includes('{') === /^(slos|traces)\//.test(path)));
    const schema = contract.paths[route].get.responses['200'].content['application/json'].schema;
    assert.deepEqual(breaches(contract, schema, await json(path), path), []);
  }
  assert.ok(breaches(contract, { $ref: '#/components/schemas/Account' }, { signal: 1 }, 'x').length > 3, 'a breach is seen');
});

test('a click says what the rules of the objective would have told', async () => {
  await page.goto(`${server.web}/oncall`);
  await page.waitForSelector('details.past summary');
  assert.equal(await page.$('details.past table'), null, 'nothing is asked before somebody looks');
  await page.click('details.past summary');
  await page.waitForFunction(() => /would have paged \d+ times? and written \d+ tickets?/.test(document.querySelector('details.past').textContent));
});

test('a message that could not be read is shown, and read again at a click', async () => {
  const value = JSON.stringify({ resourceSpans: [{ resource: { attributes: attributes({ 'service.name': 'replayed' }) }, scopeSpans: [{ spans: [span(hex(16), hex(8), '', 'chat', Date.now() - 900, 800, {})] }] }] });
  const kept = [...attributes({ 'messaging.destination.name': 'otlp_spans', 'messaging.destination.partition.id': 2, 'messaging.kafka.offset': 41, 'messaging.message.body.size': value.length, 'telltale.quarantine.signal': 'spans' }),
    { key: 'telltale.quarantine.payload', value: { bytesValue: Buffer.from(value).toString('base64') } }];
  const record = { timeUnixNano: `${Date.now()}000000`, severityNumber: 17, eventName: 'telltale.quarantine', body: { stringValue: 'it was too early' }, attributes: kept };
  const body = { resourceLogs: [{ resource: { attributes: attributes({ 'service.name': 'telltale.kafka' }) }, scopeLogs: [{ logRecords: [record] }] }] };
  assert.equal((await fetch(`${server.otlpHttp}/v1/logs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })).status, 200);
  const api = `${server.web}/api/telltale/v1/`, count = async () => (await (await fetch(`${api}count?signal=spans`)).json()).count;
  const before = await count();
  await page.goto(`${server.web}/oncall`);
  await page.waitForSelector('[data-section=kafka]');
  assert.match(await page.textContent('[data-section=kafka]'), /otlp_spans\[2\] 41.*it was too early/s);
  assert.equal(await (await fetch(`${api}quarantine/messages/otlp_spans/2/41`)).text(), value);
  await page.click('[data-section=kafka] button:text("replay")');
  await page.waitForSelector('[data-section=kafka] :text("replayed")');
  assert.equal(await count(), before + 1);
  const again = await fetch(`${api}admin/quarantine/replay/otlp_spans/2/41`, { method: 'POST' });
  assert.equal(again.status, 409);
  assert.equal(await count(), before + 1);
  assert.equal((await fetch(`${api}admin/quarantine/replay/otlp_spans/2/42`, { method: 'POST' })).status, 404);
});

test('new data shows within five seconds, in place', async () => {
  await page.goto(`${server.web}/oncall`);
  await page.waitForSelector('[data-tile=calls]');
  await page.focus('tr[data-row] a.rowlink');
  await send('checkout', [span(hex(16), hex(8), '', 'chat gpt-4o', Date.now() - 900, 800, { 'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'openai', 'gen_ai.request.model': 'gpt-4o' })]);
  await page.waitForFunction((n) => document.querySelector('[data-tile=calls]').textContent.includes(`${n} calls`), calls + 1, { timeout: 5000 });
  assert.equal(await page.evaluate(() => document.activeElement.className), 'rowlink');
});

test('when the server stops, the page says so and keeps what it knew', async () => {
  await server.stop();
  server = undefined;
  await page.waitForSelector('.notice.bad', { timeout: 15000 });
  assert.match(await page.textContent('.notice.bad'), /does not answer/);
  assert.match(await tile('calls'), new RegExp(`${calls + 1} calls`));
});

test('no script error, no violation of the policy, no request to elsewhere', () => {
  assert.deepEqual(page.trouble, []);
});
