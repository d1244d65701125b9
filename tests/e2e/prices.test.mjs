// Prices: which row made a cost, reading the document again, and that neither changes what was stored.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, query, startServer, temporaryDirectory } from "./server.mjs";

const data = temporaryDirectory(), file = join(temporaryDirectory(), "prices.yaml");
const own = (input) => `prices:\n  - {model: own-model, input: ${input}, output: 2, source: offer 17}\n`;
let server;
const start = () => startServer({ data, keep: true, args: ["--prices", file] });
const api = (path, options) => getJson(`${server.web}/api/telltale/v1/${path}`, options);
const post = (path, body) => api(path, { method: "POST", headers: { "content-type": "application/json" }, body: body && JSON.stringify(body) });

let spans = 0;
async function call(model, input, output, attributes = {}, minutesAgo = 0) {
  const id = String(++spans).padStart(32, "0"), now = BigInt(Date.now() - minutesAgo * 60000) * 1000000n;
  const a = { "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": model, "gen_ai.usage.input_tokens": input, "gen_ai.usage.output_tokens": output, "gen_ai.response.finish_reasons": "stop", ...attributes };
  const list = Object.entries(a).map(([key, v]) => ({ key, value: typeof v === "number" ? { intValue: String(v) } : { stringValue: v } }));
  const body = { resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] }, scopeSpans: [{ spans: [{ traceId: id, spanId: id.slice(16), parentSpanId: "00000000000000ff", name: "chat", kind: 3, startTimeUnixNano: String(now - 1000000000n), endTimeUnixNano: String(now), attributes: list }] }] }] };
  const answer = await fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
  return id;
}
const said = async (trace) => (await api(`traces/${trace}`)).body.spans[0].genai;
const total = async (family = "llm_cost_nanousd_total") => (await query(server, `sum(increase(${family}[1d]))`))[0]?.value ?? 0;

before(async () => {
  writeFileSync(file, own(1));
  server = await start();
});
after(() => server?.stop());

let first, firstRow;
test("a span says which price row made its cost, and the row can be asked for", async () => {
  first = await call("own-model", 1000, 100);
  const genai = await said(first);
  assert.equal(genai.cost_nanousd, 1000 * 1000 + 100 * 2000);
  firstRow = genai.price_id;
  const row = await api(`prices/${firstRow}`);
  assert.equal(row.status, 200);
  assert.equal(row.body.id, firstRow);
  assert.equal(row.body.content.input, 1);
  assert.equal(row.body.source, "offer 17");
  assert.equal(row.body.layer, "own");
  const listed = await said(await call("gpt-4o", 1000, 0));
  assert.equal((await api(`prices/${listed.price_id}`)).body.layer, "list");
  assert.equal((await said(await call("nobody-knows-it", 1, 1))).price_id, undefined);
  assert.equal((await api("prices/00000001")).status, 404);
  assert.equal((await api("prices/xyz")).status, 400);
});

test("prices that are read again hold from then on; costs stay, and the old row can still be asked for", async () => {
  const before = await api("prices");
  assert.ok(before.body.prices.some((p) => p.id === firstRow));
  writeFileSync(file, own(5));
  assert.equal((await post("admin/prices/reload")).status, 200);
  const genai = await said(await call("own-model", 1000, 100));
  assert.equal(genai.cost_nanousd, 5200000);
  assert.notEqual(genai.price_id, firstRow);
  assert.equal((await said(first)).cost_nanousd, 1200000);
  assert.equal((await api(`prices/${firstRow}`)).body.content.input, 1);
  const now = await api("prices"), all = await api("prices?all=1");
  assert.ok(!now.body.prices.some((p) => p.id === firstRow));
  assert.ok(all.body.prices.some((p) => p.id === firstRow));
  assert.notEqual(now.body.table, before.body.table);
  assert.equal((await api("admin/prices")).body.tables.length, 2);
});

test("a bad document is refused with its line, and the prices stay", async () => {
  writeFileSync(file, "prices:\n  - {model: own-model, input: dear, output: 2}\n");
  const answer = await post("admin/prices/reload");
  assert.equal(answer.status, 400);
  assert.match(JSON.stringify(answer.body), /prices\.yaml, line 2: `input`/);
  assert.equal((await said(await call("own-model", 1000, 100))).cost_nanousd, 5200000);
});

test("SIGHUP reads them again; the same content has the same id, before and after a restart", async () => {
  writeFileSync(file, own("1.000"));
  server.process.kill("SIGHUP");
  await eventually(async () => (await said(await call("own-model", 1000, 100))).price_id === firstRow);
  await server.stop();
  server = await start();
  const genai = await said(await call("own-model", 1000, 100));
  assert.equal(genai.price_id, firstRow);
  assert.equal((await said(first)).price_id, firstRow);
  assert.equal((await api("admin/prices")).body.tables.length, 3);
});
