// What Telltale alerts about itself, and budgets that are read again: an invoice that differs reaches the receiver, once through a kill, and is taken back.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, sleep, startServer, temporaryDirectory } from "./server.mjs";

let server, receiver;
const told = [];
const home = temporaryDirectory(), config = join(home, "telltale.yaml"), budgets = join(home, "budgets.yaml");
const start = () => startServer({ data: join(home, "store"), keep: true, args: ["--config", config, "--budgets", budgets] });
const api = (path, options) => getJson(`${server.web}/api/telltale/v1/${path}`, options);
const post = (path, body) => api(path, { method: "POST", headers: { "content-type": "application/json" }, body: body && JSON.stringify(body) });
const invoice = (usd) => post("reconcile", { provider: "openai", from: "2026-11-01", to: "2026-11-01", documents: [`day,model,cost\n2026-11-01,gpt-4o,${usd}\n`] });
const alerts = (status) => told.filter((a) => a.labels.condition === "invoice_residue" && a.status === status);

before(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (c) => (body += c));
    request.on("end", () => {
      told.push(...JSON.parse(body).alerts);
      response.end();
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => receiver.once("listening", resolve));
  writeFileSync(budgets, "budgets:\n- {name: day, by: user, amount: 10 USD, window: day}\n");
  writeFileSync(config, `receivers:
  - name: team
    url: http://127.0.0.1:${receiver.address().port}/hook
    allow_private: true
`);
  server = await start();
});
after(async () => {
  receiver?.close();
  await server?.stop();
});

test("an invoice that differs from what was counted reaches the receiver as a ticket", async () => {
  const answer = await invoice(12);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  await eventually(async () => alerts("firing").length === 1);
  const [alert] = alerts("firing");
  assert.equal(alert.labels.alertname, "TelltaleCondition");
  assert.equal(alert.labels.subject, "openai");
  assert.equal(alert.labels.severity, "ticket");
  assert.match(alert.annotations.summary, /invoice of openai differs from what was counted by 100\.00 %/);
  assert.match(alert.annotations.description, /docs\/prices\.md/);
});

test("a file of budgets that is read again holds, and a wrong one changes nothing", async () => {
  writeFileSync(budgets, "budgets:\n- {name: day, by: user, amount: 10 USD, window: day}\n- {name: teams, by: team, amount: 5 USD, window: 24h}\n");
  const answer = await post("admin/budgets/reload");
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.deepEqual(answer.body, { status: "reloaded", budgets: 2 });
  const names = async () => (await api("budgets/spend")).body.budgets.map((b) => b.budget).sort();
  assert.deepEqual(await names(), ["day", "teams"]);
  writeFileSync(budgets, "budgets:\n- {name: day, by: nobody, amount: 10 USD, window: day}\n");
  const refused = await post("admin/budgets/reload");
  assert.equal(refused.status, 400);
  assert.match(JSON.stringify(refused.body), /budgets\.yaml:2: .*by/);
  assert.deepEqual(await names(), ["day", "teams"]);
  writeFileSync(budgets, "budgets:\n- {name: signal, by: team, amount: 5 USD, window: 24h}\n");
  server.process.kill("SIGHUP");
  await eventually(async () => (await names()).join() === "signal");
});

test("a kill tells nobody again, and an invoice within the bound takes the alert back", async () => {
  await server.kill();
  server = await start();
  await sleep(5000); // two rounds and more
  assert.equal(alerts("firing").length, 1);
  assert.equal(alerts("resolved").length, 0);
  const end = BigInt(Date.now()) * 1000000n, day = new Date().toISOString().slice(0, 10);
  const a = { "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 1000000, "gen_ai.usage.output_tokens": 1000, "gen_ai.response.finish_reasons": "stop" };
  const attributes = Object.entries(a).map(([key, v]) => ({ key, value: typeof v === "number" ? { intValue: String(v) } : { stringValue: v } }));
  const span = { traceId: "1".repeat(32), spanId: "1".repeat(16), name: "chat", kind: 3, startTimeUnixNano: String(end - 1000000000n), endTimeUnixNano: String(end), attributes };
  const sent = await fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }) });
  assert.equal(sent.status, 200);
  const billed = (usd) => post("reconcile", { provider: "openai", documents: [`day,model,cost\n${day},gpt-4o,${usd}\n`] });
  const ours = (await billed(1000)).body.report.ours_nanousd;
  assert.ok(ours > 0);
  const agreed = await billed(ours / 1e9);
  assert.equal(agreed.body.report.alert, false, JSON.stringify(agreed.body));
  await eventually(async () => alerts("resolved").length === 1);
  assert.equal(alerts("resolved")[0].labels.subject, "openai");
  assert.equal(alerts("firing").length, 1);
});
