// The same rules over the same samples in Debian's Prometheus and here: the same series, ALERTS and states; and what kill -9 leaves of an alert.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, program, query, startServer, temporaryDirectory } from "./server.mjs";

const skip = spawnSync("prometheus", ["--version"]).error && "prometheus is not installed";
const home = temporaryDirectory(), rules = join(home, "rules.yml"), config = join(home, "telltale.yaml");
const fixtures = new URL("../fixtures/rules/", import.meta.url).pathname;
let server, prometheus, target, receiver, web, theirs, up = 1;
const told = []; // [{id, status, labels, annotations}], each attempt

const listen = (handler) => new Promise((resolve) => {
  const s = createServer(handler).listen(0, "127.0.0.1", () => resolve(s));
});
async function freePort() {
  const probe = await listen(() => {});
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
const start = () => startServer({ data: join(home, "store"), keep: true, args: ["--config", config, "--rules", rules, "--listen-http", `127.0.0.1:${web}`] });
const rule = async (base, name) => {
  const { body } = await getJson(`${base}/api/v1/rules`);
  return body.data.groups.flatMap((g) => g.rules).find((r) => r.name === name);
};
const firing = () => told.filter((t) => t.status === "firing");

before(async () => {
  if (skip) return;
  writeFileSync(rules, `groups:
- name: demo
  interval: 1s
  rules:
  - {record: 'job:demo_up:sum', expr: 'sum by (job) (demo_up)', labels: {level: job}}
  - {record: 'demo:twice', expr: 'job:demo_up:sum * 2 + 1'}
  - alert: DemoDown
    expr: demo_up == 0
    for: 3s
    labels: {severity: page, where: '{{ $labels.room }}'}
    annotations: {summary: '{{ $labels.job }} in {{ $labels.room | toUpper }} is {{ printf "%.1f" $value }}'}
  - alert: DemoSlow
    expr: demo_up == 0
    for: 25s
    annotations: {from: '{{ define "place" }}{{ . | toUpper }}{{ end }}{{ template "place" $externalLabels.cluster }}'}
`);
  receiver = await listen((request, response) => {
    let body = "";
    request.on("data", (c) => (body += c));
    request.on("end", () => {
      for (const a of JSON.parse(body).alerts) told.push({ id: request.headers["webhook-id"], status: a.status, labels: a.labels, annotations: a.annotations });
      response.end();
    });
  });
  target = await listen((_, response) => response.end(`# TYPE demo_up gauge\ndemo_up{room="r1"} ${up}\ndemo_up{room="r2"} 1\n`));
  writeFileSync(config, `external_labels: {cluster: eu}\nreceivers:\n  - {name: team, url: "http://127.0.0.1:${receiver.address().port}/hook", allow_private: true}\n`);
  web = await freePort();
  server = await start();
  const port = await freePort();
  theirs = `http://127.0.0.1:${port}`;
  writeFileSync(join(home, "prometheus.yml"), `
global: { scrape_interval: 1s, evaluation_interval: 1s, external_labels: { cluster: eu } }
rule_files: [${rules}]
scrape_configs: [{ job_name: demo, static_configs: [{ targets: ["127.0.0.1:${target.address().port}"] }] }]
remote_write:
- url: "http://127.0.0.1:${web}/api/v1/write"
  queue_config: { batch_send_deadline: 1s, max_backoff: 1s }
  write_relabel_configs: [{ source_labels: [__name__], regex: "demo_up|up", action: keep }, { regex: cluster, action: labeldrop }]
`);
  prometheus = spawn("prometheus", [`--config.file=${join(home, "prometheus.yml")}`, `--storage.tsdb.path=${join(home, "prometheus")}`, `--web.listen-address=127.0.0.1:${port}`], { stdio: "ignore" });
});
after(async () => {
  prometheus?.kill("SIGKILL");
  target?.close();
  receiver?.close();
  await server?.stop();
  rmSync(home, { recursive: true, force: true });
});

const both = (expr) => Promise.all([query(server, expr), query({ web: theirs }, expr)]);
const plain = (list) => list.map((s) => JSON.stringify([Object.entries(s.labels).sort(), s.value])).sort();

test("recorded series are those of Prometheus", { skip }, async () => {
  await eventually(async () => {
    const [ours, reference] = await both('{__name__=~"job:demo_up:sum|demo:twice"}');
    assert.equal(reference.length, 2);
    assert.deepEqual(plain(ours), plain(reference));
    return true;
  }, 60000);
});

test("an alert has the labels, annotations and states that Prometheus gives it", { skip }, async () => {
  up = 0;
  await eventually(async () => {
    const [ours, reference] = await both('ALERTS{alertname="DemoDown"}');
    assert.deepEqual(reference.map((s) => s.labels.alertstate), ["firing"]);
    assert.deepEqual(plain(ours), plain(reference));
    return true;
  }, 60000);
  for (const name of ["job:demo_up:sum", "demo:twice", "DemoDown", "DemoSlow"]) {
    const [a, b] = [await rule(server.web, name), await rule(theirs, name)];
    for (const r of [a, b]) {
      assert.ok(Date.parse(r.lastEvaluation) > 0 && r.evaluationTime >= 0);
      delete r.lastEvaluation;
      delete r.evaluationTime;
      for (const x of r.alerts ?? []) {
        assert.ok(Math.abs(Date.parse(x.activeAt) - Date.now()) < 300000);
        delete x.activeAt;
      }
    }
    assert.deepEqual(a, b);
  }
  await eventually(async () => firing().some((t) => t.labels.alertname === "DemoDown"), 30000);
  const [first] = firing();
  assert.equal(first.labels.where, "r1");
  assert.equal(first.labels.cluster, "eu");
  assert.equal(first.annotations.summary, "demo in R1 is 0.0");
});

test("kill -9 keeps the time that an alert has waited, and sends nothing twice but with its own id", { skip }, async () => {
  const before = (await rule(server.web, "DemoSlow")).alerts[0];
  assert.equal(before.state, "pending");
  await server.kill();
  server = await start();
  const restored = (await rule(server.web, "DemoSlow")).alerts[0];
  assert.equal(restored.activeAt, before.activeAt);
  const slow = () => firing().filter((t) => t.labels.alertname === "DemoSlow");
  await eventually(async () => slow().length > 0, 90000);
  const fired = (await rule(server.web, "DemoSlow")).alerts[0];
  assert.equal(fired.activeAt, before.activeAt);
  await server.kill();
  server = await start();
  up = 1;
  await eventually(async () => told.filter((t) => t.status === "resolved").length >= 2, 120000);
  for (const name of ["DemoDown", "DemoSlow"])
    for (const status of ["firing", "resolved"])
      assert.equal(new Set(told.filter((t) => t.labels.alertname === name && t.status === status).map((t) => t.id)).size, 1, `${name} ${status}`);
  const { body } = await getJson(`${server.web}/api/v1/alerts`);
  assert.equal(body.data.alerts.filter((a) => a.labels.alertname.startsWith("Demo")).length, 0);
});

test("rules are filtered and paged", { skip }, async () => {
  const groups = async (parameters) => (await getJson(`${server.web}/api/v1/rules?${parameters}`)).body.data;
  const names = async (parameters) => (await groups(parameters)).groups.flatMap((g) => g.rules.map((r) => r.name));
  assert.deepEqual(await names("type=record"), ["job:demo_up:sum", "demo:twice"]);
  assert.deepEqual(await names("rule_group[]=demo&type=alert"), ["DemoDown", "DemoSlow"]);
  assert.deepEqual(await names("rule_name[]=DemoSlow&rule_name[]=demo:twice"), ["demo:twice", "DemoSlow"]);
  assert.deepEqual(await names(`match[]=${encodeURIComponent('{severity="page",where!=""}')}`), ["DemoDown"]);
  assert.deepEqual(await names(`file[]=${encodeURIComponent(rules)}&type=record`), ["job:demo_up:sum", "demo:twice"]);
  const seen = [];
  let page = await groups("group_limit=1");
  for (; page.groupNextToken; page = await groups(`group_limit=1&group_next_token=${page.groupNextToken}`)) seen.push(page.groups[0].name);
  assert.equal(page.groups[0].name, "demo");
  assert.equal(seen.length, 4); // the built-in objectives
  for (const bad of ["type=x", "group_limit=0", "group_next_token=x", "group_limit=1&group_next_token=x", "match[]=x{", "exclude_alerts=2"]) {
    const { status, body } = await getJson(`${server.web}/api/v1/rules?${bad}`);
    assert.deepEqual([status, body.status, body.errorType], [400, "error", "bad_data"], bad);
  }
});

test("rule files are read again, and a wrong one changes nothing", { skip }, async () => {
  const reload = () => getJson(`${server.web}/-/reload`, { method: "POST" });
  writeFileSync(rules, "groups:\n- {name: demo, rules: [{record: other, expr: 'up ='}]}\n");
  const refused = await reload();
  assert.equal(refused.status, 400);
  assert.match(JSON.stringify(refused.body), /rules\.yml:2: group .*demo.*rule 1 .*other.*could not parse expression/);
  assert.ok(await rule(server.web, "demo:twice"));
  writeFileSync(rules, "groups:\n- {name: demo, interval: 1s, rules: [{record: other, expr: 'demo_up + 1'}]}\n");
  assert.deepEqual((await reload()).body, { status: "reloaded", groups: 1, rules: 1 });
  await eventually(async () => (await query(server, "other")).length === 2, 30000);
  await eventually(async () => (await query(server, "demo:twice")).length === 0, 30000);
  const page = await (await fetch(`${server.web}/metrics`)).text();
  assert.match(page, /^prometheus_rule_evaluations_total\{rule_group=".*rules\.yml;demo"\} [1-9]/m);
  assert.match(page, /^prometheus_rule_group_rules\{rule_group=".*;demo"\} 1$/m);
});

test("promtool and telltale agree on tests and on mistakes", { skip }, () => {
  const wrong = join(home, "wrong.yml"), failing = join(home, "failing.yml");
  writeFileSync(wrong, "groups:\n- {name: g, rules: [{alert: a, expr: up, annotations: {x: '{{ nope }}'}}]}\n");
  writeFileSync(failing, `rule_files: [${fixtures}web.yml]\ntests:\n- alert_rule_test: [{eval_time: 1m, alertname: Always}]\n`);
  for (const [verb, file, code] of [["test", `${fixtures}web_test.yml`, 0], ["test", failing, 1], ["check", `${fixtures}web.yml`, 0], ["check", wrong, 1]]) {
    const tool = spawnSync("promtool", verb === "test" ? ["test", "rules", file] : ["check", "rules", file], { encoding: "utf8" });
    const ours = spawnSync(program, ["rules", verb, file], { encoding: "utf8" });
    assert.equal(tool.status, code, tool.stderr);
    assert.equal(ours.status, code, ours.stderr);
    if (file === failing) assert.equal(ours.stderr.trim(), tool.stderr.trim());
  }
});
