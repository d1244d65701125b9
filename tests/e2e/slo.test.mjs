// Objectives: what they would have fired over stored data, where their numbers come from, and reading them again while everything runs.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, program, sendCheckoutRequests, startServer, temporaryDirectory } from "./server.mjs";

const home = temporaryDirectory(), data = join(home, "store"), file = join(home, "slo.yaml");
let server;
const slo = (name, target, more = "availability-request", labels = "") => `---
apiVersion: openslo/v1
kind: SLO
metadata: {name: ${name}${labels}}
spec:
  service: checkout
  indicator: {spec: {llm: {indicator: ${more}, service: checkout}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: ${target}}]
`;
const api = (path, options) => getJson(`${server.web}/api/telltale/v1/${path}`, options);
const verb = (...args) => {
  const end = spawnSync(program, ["slo", ...args], { encoding: "utf8" });
  return { status: end.status, out: end.stdout, err: end.stderr };
};
const reload = () => api("admin/slos/reload", { method: "POST" });
const row = async (id) => (await api(`slos/${id}`)).body;

const sendRequests = (...args) => sendCheckoutRequests(server, ...args);

const start = () => startServer({ data, keep: true, args: ["--slo", file] });
before(async () => {
  writeFileSync(file, slo("checkout-answers", 0.995));
  server = await start();
  for (let m = 400; m >= 2; m--) await sendRequests(10, m <= 300 && m > 280, m); // twenty minutes of outage, five hours ago
});
after(async () => {
  await server?.stop();
  rmSync(home, { recursive: true, force: true });
});

test("a backtest of a loaded objective says when it would have paged", async () => {
  const { status, body } = await api("slos/checkout-answers/backtest?since=8h");
  assert.equal(status, 200);
  assert.ok(body.pages >= 1);
  assert.equal(body.pages, body.alerts.filter((a) => a.told && a.severity === "page").length);
  assert.equal(body.counts.bad, 200);
  const [first] = body.alerts;
  assert.equal(first.severity, "page");
  assert.equal(first.told, true);
  const ago = (Date.now() - first.fired_ms) / 60000;
  assert.ok(ago > 280 && ago < 301, `fired ${ago} minutes ago`);
  assert.ok(first.long_burn > first.factor && first.resolved_ms > first.fired_ms);
  assert.equal((await api("slos/nobody/backtest")).status, 404);
  assert.equal((await api("slos/checkout-answers/backtest?since=1s")).status, 400);
});

test("documents that are not loaded can be asked, by the program too, and mistakes name file and line", async () => {
  const loose = join(home, "loose.yaml"), wrong = join(home, "wrong.yaml");
  writeFileSync(loose, slo("loose", 0.5));
  writeFileSync(wrong, slo("wrong", 1.5));
  const people = verb("backtest", "--url", server.web, "--since", "8h", loose, file);
  assert.equal(people.status, 0, people.err);
  assert.match(people.out, /loose: 50 % over 30d; 200 of \d+ bad/);
  assert.match(people.out, /page +5%-in-6h +for .* of the budget left\n/);
  assert.match(people.out, /page +2%-in-1h +for .* burn .* over 1h, .* over 5m \(limit 14\.4/);
  assert.match(people.out, /2 objectives: would have paged \d times? and written \d+ tickets? in 8h/);
  const loaded = JSON.parse(verb("backtest", "--url", server.web, "--since=8h", "--json").out);
  assert.deepEqual(loaded.slos.map((s) => s.id), ["checkout-answers"]);
  const bad = verb("backtest", "--url", server.web, wrong);
  assert.equal(bad.status, 2);
  assert.match(bad.err, /wrong\.yaml:\d+: spec\.objectives\.target/);
  assert.equal((await api("slos/backtest", { method: "POST", body: "kind: Nothing" })).status, 400);
});

test("explain says where the numbers come from, of a file and of what is loaded", async () => {
  const of_file = verb("explain", "--per-day", "40", file);
  assert.equal(of_file.status, 0, of_file.err);
  assert.match(of_file.out, /good +llm_user_requests_total\{.*service="checkout".*outcome=~"ok\|blocked"/);
  assert.match(of_file.out, /0\.02 x 30d \/ 1h = 14\.4; x 0\.005 = 7\.2 % bad/);
  assert.match(of_file.out, /at 40 requests a day one failure spends 16\.7 % of a 99\.5 % budget/);
  assert.match(of_file.out, /2%-in-1h: about 1\.67 events in its long window: only ever a ticket/);
  const loaded = verb("explain", "--url", server.web, "checkout-answers");
  assert.equal(loaded.status, 0, loaded.err);
  assert.match(loaded.out, /at \d+ requests a day/);
  assert.equal(verb("explain", "--url", server.web, "nobody").status, 1);
});

test("objectives are read again whole or not at all, and what stayed keeps its budget", async () => {
  const before = await row("checkout-answers");
  writeFileSync(file, slo("checkout-answers", 0.995, undefined, ", labels: {team: payments}") + slo("first-token", 0.9, "ttft-under, threshold: 1s"));
  const answer = await reload();
  assert.deepEqual([answer.status, answer.body.objectives], [200, 2]);
  const after = await row("checkout-answers");
  assert.equal(after.budget_since_ms, before.budget_since_ms);
  assert.equal((await api("slos")).body.slos.length, 2);
  writeFileSync(file, slo("checkout-answers", 7));
  const wrong = await fetch(`${server.web}/-/reload`, { method: "POST" });
  assert.equal(wrong.status, 400);
  assert.match((await wrong.text()), /slo\.yaml:\d+: spec\.objectives\.target/);
  assert.equal((await api("slos")).body.slos.length, 2, "the old set stays");
  writeFileSync(file, slo("checkout-answers", 0.99));
  server.process.kill("SIGHUP");
  await eventually(async () => (await api("slos")).body.slos.length === 1);
  const changed = await row("checkout-answers");
  assert.equal(changed.target, 0.99);
  assert.ok(changed.budget_since_ms > before.budget_since_ms, "another target is another budget");
  await eventually(async () => (await row("checkout-answers")).period.bad === 200, 20000);
});

test("a data directory at rest answers the same", async () => {
  const asked = verb("backtest", "--data", data, file);
  assert.equal(asked.status, 1);
  assert.match(asked.err, /in use by a running telltale/);
  await server.stop();
  const rest = verb("backtest", "--data", data, "--since", "8h", "--json", file);
  assert.equal(rest.status, 0, rest.err);
  const [one] = JSON.parse(rest.out).slos;
  assert.ok(one.pages >= 1);
  assert.equal(one.counts.bad, 200);
  server = await start();
  assert.match(verb("backtest", "--data", join(home, "nothing")).err, /is no data directory/);
});
