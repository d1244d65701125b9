// Debian's Prometheus scrapes a page and sends it on by remote write; both answer the same questions the same way.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, sleep, startServer } from "./server.mjs";

const missing = spawnSync("prometheus", ["--version"]).error;
let server, target, prometheus, directory, port;

function page() {
  const t = Date.now() / 1000;
  let text = "# TYPE demo_requests_total counter\n";
  for (let i = 0; i < 20; i++) text += `demo_requests_total{instance_id="${i}",code="${i % 3 ? "200" : "500"}"} ${Math.floor(t * (i + 1)) % 1e6}\n`;
  text += "# TYPE demo_temperature gauge\n";
  for (let i = 0; i < 5; i++) text += `demo_temperature{room="r${i}"} ${(20 + Math.sin(t / 10 + i)).toFixed(6)}\n`;
  text += "# TYPE demo_latency_seconds histogram\n";
  for (const [le, n] of [["0.1", 3], ["0.5", 7], ["1", 9], ["+Inf", 10]]) text += `demo_latency_seconds_bucket{le="${le}"} ${Math.floor(t) * n}\n`;
  return text + `demo_latency_seconds_sum ${Math.floor(t) * 2.5}\ndemo_latency_seconds_count ${Math.floor(t) * 10}\n`;
}

before(async () => {
  if (missing) return;
  server = await startServer();
  target = createServer((_, response) => response.end(page())).listen(0, "127.0.0.1");
  await new Promise((resolve) => target.once("listening", resolve));
  directory = mkdtempSync(join(tmpdir(), "telltale-prometheus-"));
  writeFileSync(join(directory, "prometheus.yml"), `
global: { scrape_interval: 1s }
scrape_configs: [{ job_name: demo, static_configs: [{ targets: ["127.0.0.1:${target.address().port}"] }] }]
remote_write: [{ url: "${server.web}/api/v1/write", queue_config: { batch_send_deadline: 1s } }]
`);
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  port = probe.address().port;
  await new Promise((resolve) => probe.close(resolve));
  prometheus = spawn("prometheus", [`--config.file=${directory}/prometheus.yml`, `--storage.tsdb.path=${directory}/data`, `--web.listen-address=127.0.0.1:${port}`], { stdio: "ignore" });
});
after(async () => {
  prometheus?.kill("SIGKILL");
  target?.close();
  if (directory) rmSync(directory, { recursive: true, force: true });
  await server?.stop();
});

const queries = [
  "demo_temperature",
  "sum by (code) (rate(demo_requests_total[10s]))",
  "increase(demo_requests_total[15s])",
  "histogram_quantile(0.9, sum by (le) (rate(demo_latency_seconds_bucket[10s])))",
  "avg_over_time(demo_temperature[10s]) - on (room) min_over_time(demo_temperature[10s])",
  "topk(3, demo_requests_total)",
  'label_replace(up{job="demo"}, "host", "$1", "instance", "(.*):.*")',
];

test("remote write arrives and answers agree", { skip: missing && "prometheus is not installed" }, async () => {
  const reference = `http://127.0.0.1:${port}`;
  const at = async (base, expr, time) => (await getJson(`${base}/api/v1/query?query=${encodeURIComponent(expr)}&time=${time}`)).body.data?.result ?? [];
  // Enough history, and a moment that both have passed.
  await eventually(async () => (await at(server.web, "count_over_time(up[1m])", Date.now() / 1000))[0]?.value[1] >= 20, 60000);
  const time = Math.floor(Date.now() / 1000) - 2 + 0.123;
  await sleep(4000);
  const key = (s) => JSON.stringify(Object.entries(s.metric).sort());
  for (const expr of queries) {
    const ours = new Map((await at(server.web, expr, time)).map((s) => [key(s), Number(s.value[1])]));
    const theirs = await at(reference, expr, time);
    assert.ok(theirs.length > 0, `${expr} has an answer`);
    assert.equal(ours.size, theirs.length, expr);
    for (const s of theirs) {
      const a = ours.get(key(s)), b = Number(s.value[1]);
      assert.ok(a === b || Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b)), `${expr} ${key(s)}: ${a} and ${b}`);
    }
  }
});

test("metadata of the families is passed on", { skip: missing && "prometheus is not installed" }, async () => {
  await eventually(async () => (await getJson(`${server.web}/api/v1/metadata?metric=demo_requests_total`)).body.data.demo_requests_total?.[0].type === "counter", 70000);
});
