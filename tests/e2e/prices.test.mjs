// Prices: which row made a cost, reading the document again, and that neither changes what was stored.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, program, query, startServer, temporaryDirectory } from "./server.mjs";

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

// --- reconciliation: an org of its own would be nicer; models of their own do ----------------------------------------------------

const today = () => new Date().toISOString().slice(0, 10);

test("an invoice is compared by day and model, and the difference says where it comes from", async () => {
  for (let i = 0; i < 3; i++) await call("gpt-4.1", 100000, 1000, { "telltale.api_key": "key-a", "gen_ai.response.id": `r-${i}` }); // 0.2 + 0.008 USD each
  await call("gpt-5-mini", 1000000, 0); // 0.25
  await call("o3", 500000, 0); // 1.0
  await call("gpt-9-unknown", 1000, 1000);
  const day = today();
  const csv = (model, input, output, key, cost) => `${day},${model},${input},${output},${key},${cost}\n`;
  const documents = ["day,model,input_tokens,output_tokens,api_key_id,cost\n"
    + csv("gpt-4.1-2025-04-14", 300000, 3000, "key-a", 0.624) // agrees
    + csv("gpt-5-mini", 2000000, 0, "key-b", 0.5) // twice the tokens
    + csv("o3", 500000, 0, "", 1.75) // another price: priority
    + csv("gpt-4o-mini", 1000, 0, "key-b", 0.15) // we saw nothing of it
    + csv("gpt-9-unknown", 1000, 1000, "", 0.2)]; // we have no price
  const centres = "cost_centres:\n  - {key: key-a, centre: research, from: 2020-01-01}\n  - {key: key-b, centre: sales, until: 2020-01-01}\n";
  const answer = await post("reconcile", { provider: "openai", documents, centres });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const r = answer.body.report;
  assert.equal(r.theirs_nanousd, 3224000000);
  const line = (model) => r.lines.find((l) => l.model === model);
  assert.deepEqual(line("gpt-4.1").items, {});
  assert.equal(line("gpt-4.1").ours.cost_nanousd, 624000000);
  assert.deepEqual(line("gpt-5-mini").items, { tokens: 250000000 });
  assert.deepEqual(line("o3").items, { price: 750000000 });
  assert.deepEqual(line("gpt-4o-mini").items, { only_theirs: 150000000 });
  assert.deepEqual(line("gpt-9-unknown").items, { unpriced: 200000000 });
  assert.ok(line("gpt-4o").items.only_ours < 0); // calls of the first tests
  assert.equal(Object.values(r.items).reduce((a, b) => a + b), r.difference_nanousd);
  assert.equal(r.alert, true);
  const centre = (name) => r.centres.find((c) => c.centre === name);
  assert.equal(centre("research").theirs_nanousd, 624000000);
  assert.equal(centre("research").ours_nanousd, 624000000);
  assert.equal(centre("unattributed").theirs_nanousd, 2600000000);
  assert.equal(centre("sales"), undefined);
  // kept, listed, and a series
  const list = (await api("reconcile")).body.reports;
  assert.equal(list[0].id, answer.body.id);
  assert.equal(list[0].alert, true);
  assert.equal((await api(`reconcile/${answer.body.id}`)).body.report.difference_nanousd, r.difference_nanousd);
  const ratio = await eventually(async () => (await query(server, 'llm_invoice_residue_ratio{provider="openai"}'))[0]);
  assert.ok(Math.abs(ratio.value - Math.abs(r.difference_nanousd) / r.theirs_nanousd) < 1e-9);
  // one day that agrees
  const agreed = await post("reconcile", { provider: "openai", from: "2020-01-01", to: "2020-01-01", documents: ["day,model,cost\n2020-01-01,x,0\n"] });
  assert.equal(agreed.body.report.residue_ratio, null);
  assert.equal(agreed.body.report.alert, false);
});

test("the command prints the report, and its status says whether it agrees", async () => {
  const dir = temporaryDirectory(), csv = join(dir, "usage.csv");
  writeFileSync(csv, `when,what,usd\n${today()},gpt-4.1,0.624\n`);
  const run = spawnSync(program, ["reconcile", csv, "--provider", "generic", "--columns", "day=when,model=what,cost=usd", "--url", server.web], { encoding: "utf8", timeout: 20000 });
  assert.equal(run.status, 1, run.stderr);
  assert.match(run.stdout, /billed +0\.624000 USD/);
  assert.match(run.stdout, /only_ours/);
  const bad = spawnSync(program, ["reconcile", csv, "--provider", "generic", "--url", server.web], { encoding: "utf8", timeout: 20000 });
  assert.equal(bad.status, 2);
  assert.match(bad.stderr, /line 1: no column with the day/);
});

test("a price list of LiteLLM's becomes a document that the server takes", async () => {
  const dir = temporaryDirectory(), list = join(dir, "list.json");
  writeFileSync(list, JSON.stringify({ sample_spec: {}, "own-model": { litellm_provider: "openai", input_cost_per_token: 3e-6, output_cost_per_token: 4e-6 }, empty: {} }));
  const run = spawnSync(program, ["import", "prices", list, "--out", file], { encoding: "utf8", timeout: 20000 });
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stderr, /1 models, 1 price rows[^]*left out 1: no input/);
  assert.equal((await post("admin/prices/reload")).status, 200);
  assert.equal((await said(await call("own-model", 1000, 0))).cost_nanousd, 3000000);
});

// --- re-pricing -------------------------------------------------------------------------------------------------------------------

const costs = async (model) => (await query(server, `sum(llm_cost_nanousd_total{model="${model}"})`))[0]?.value ?? 0;
const near = (a, b) => assert.ok(Math.abs(a - b) < 1, `${a} is not ${b}`);

test("re-pricing shows the difference first, adds it once, and writes down who, when and what", async () => {
  writeFileSync(file, "prices:\n  - {model: late-model, input: 1, output: 1}\n  - {model: twin-model, input: 1, output: 1}\n");
  assert.equal((await post("admin/prices/reload")).status, 200);
  const priced = [];
  for (let i = 0; i < 3; i++) priced.push(await call("late-model", 1000, 1000));
  await call("other-model", 1000, 1000); // no price
  // two observers of one call: only one of them books
  for (let i = 0; i < 2; i++) await call("twin-model", 1000, 0, { "gen_ai.response.id": "twin-1" });
  near(await costs("late-model"), 6000000);
  near(await costs("twin-model"), 1000000);
  writeFileSync(file, "prices:\n  - {model: late-model, input: 3, output: 0.5, cache_read: 1}\n  - {model: twin-model, input: 5, output: 1}\n  - {model: other-model, input: 7, output: 1}\n");
  assert.equal((await post("admin/prices/reload")).status, 200);
  const now = Date.now(), range = { from: now - 3600000, to: now + 60000 };

  const dry = await post("admin/reprice", { ...range, model: "late-model", dry_run: true });
  assert.equal(dry.status, 200, JSON.stringify(dry.body));
  assert.equal(dry.body.sums.calls, 3);
  assert.equal(dry.body.sums.old_nanousd, 6000000);
  assert.equal(dry.body.sums.new_nanousd, 10500000);
  assert.equal(dry.body.sums.added_nanousd, 4500000);
  near(await costs("late-model"), 6000000); // shown, not done
  assert.equal((await api("admin/reprice")).body.reprices.length, 0);
  assert.equal((await post("admin/reprice", { ...range })).status, 400); // a key is needed

  const ask = { ...range, model: "late-model", key: "march", reason: "contract 18" };
  const done = await post("admin/reprice", ask);
  assert.equal(done.status, 200, JSON.stringify(done.body));
  assert.equal(done.body.state, "done");
  assert.equal(done.body.sums.added_nanousd, 4500000);
  assert.equal(done.body.by, "this machine");
  assert.match(done.body.price_table, /^[0-9a-f]{16}$/);
  near(await costs("late-model"), 10500000);
  assert.deepEqual((await post("admin/reprice", ask)).body, done.body); // once
  near(await costs("late-model"), 10500000);
  assert.equal((await post("admin/reprice", { ...ask, model: "x" })).status, 409);
  const again = await post("admin/reprice", { ...ask, key: "april" }); // another key, the same prices: nothing is left to add
  assert.equal(again.body.sums.added_nanousd, 0);
  near(await costs("late-model"), 10500000);
  assert.equal((await said(priced[0])).cost_nanousd, 2000000); // the row keeps what it cost at event time
  const moved = await query(server, 'sum by (direction) (llm_cost_repriced_nanousd_total{model="late-model"})');
  near(moved.find((m) => m.labels.direction === "up").value, 6000000);
  near(moved.find((m) => m.labels.direction === "down").value, 1500000);

  // calls without a price get one; a twin is re-priced once
  const unpriced = await post("admin/reprice", { ...range, key: "unpriced", model: "other-model", only_unpriced: true });
  assert.equal(unpriced.body.sums.unpriced_before, 1);
  assert.equal(unpriced.body.sums.added_nanousd, 8000000);
  near(await costs("other-model"), 8000000);
  const twins = await post("admin/reprice", { ...range, key: "twins", model: "twin-model" });
  assert.equal(twins.body.sums.twins, 1);
  near(await costs("twin-model"), 5000000);

  // and back: a second re-pricing adds only what the first has not
  writeFileSync(file, "prices:\n  - {model: late-model, input: 1, output: 1}\n");
  assert.equal((await post("admin/prices/reload")).status, 200);
  const back = await post("admin/reprice", { ...range, key: "back", model: "late-model" });
  assert.equal(back.body.sums.added_nanousd, -4500000);
  near(await costs("late-model"), 6000000);
  assert.deepEqual((await api("admin/reprice")).body.reprices.map((r) => r.key), ["back", "twins", "unpriced", "april", "march"]);

  // after a restart: the same sums, and done is still done
  await server.stop();
  server = await start();
  near(await costs("late-model"), 6000000);
  assert.equal((await post("admin/reprice", ask)).body.at_ms, done.body.at_ms);
  near(await costs("late-model"), 6000000);
});
