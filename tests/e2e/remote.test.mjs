// Other Prometheus servers as clients: remote read, federation with external labels; and remote write 2.0.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, query, startServer, temporaryDirectory } from "./server.mjs";

const skip = spawnSync("prometheus", ["--version"]).error && "prometheus is not installed";
const directory = temporaryDirectory();
let server, prometheus, theirs;

// --- protobuf and snappy, as little as is needed
const varint = (n) => {
  const out = [];
  for (let v = BigInt.asUintN(64, BigInt(n)); ; v >>= 7n) {
    if (v < 128n) return Buffer.from([...out, Number(v)]);
    out.push(Number(v & 127n) | 128);
  }
};
const number = (field, n) => Buffer.concat([varint(field << 3), varint(n)]);
const double = (field, v) => { const b = Buffer.alloc(8); b.writeDoubleLE(v); return Buffer.concat([varint((field << 3) | 1), b]); };
const part = (field, b) => Buffer.concat([varint((field << 3) | 2), varint(b.length), b]);
const text = (field, s) => part(field, Buffer.from(s));
const snappy = (b) => { // one literal
  const size = Buffer.alloc(2);
  size.writeUInt16LE(b.length - 1);
  return Buffer.concat([varint(b.length), Buffer.from([61 << 2]), size, b]);
};

async function write2(series, symbols, type = "application/x-protobuf;proto=io.prometheus.write.v2.Request") {
  const body = snappy(Buffer.concat([...symbols.map((s) => text(4, s)), ...series.map((s) => part(5, s))]));
  const headers = { "content-type": type, "content-encoding": "snappy", "x-prometheus-remote-write-version": "2.0.0" };
  return fetch(`${server.web}/api/v1/write`, { method: "POST", headers, body });
}

before(async () => {
  const config = join(directory, "telltale.yml");
  writeFileSync(config, "external_labels: {cluster: eu, replica: a}\n");
  server = await startServer({ args: ["--config", config] });
  if (skip) return;
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  theirs = `http://127.0.0.1:${port}`;
  writeFileSync(join(directory, "prometheus.yml"), `
global: { scrape_interval: 1s }
remote_read: [{ url: "${server.web}/api/v1/read", read_recent: true }]
scrape_configs:
- { job_name: self, static_configs: [{ targets: ["${new URL(server.web).host}"] }] }
- { job_name: federate, honor_labels: true, metrics_path: /federate, params: { "match[]": ['{__name__="fed_gauge"}'] }, static_configs: [{ targets: ["${new URL(server.web).host}"] }] }
`);
  prometheus = spawn("prometheus", [`--config.file=${directory}/prometheus.yml`, `--storage.tsdb.path=${directory}/data`, `--web.listen-address=127.0.0.1:${port}`], { stdio: "ignore" });
});
after(async () => {
  prometheus?.kill("SIGKILL");
  await server?.stop();
});

const symbols = ["", "__name__", "written_total", "job", "api", "how many", "", "fed_gauge", "native"];

test("remote write 2.0 is taken, with what was written in the headers", async () => {
  const now = Date.now();
  const sample = (v, t, start) => part(2, Buffer.concat([double(1, v), number(2, t), ...(start ? [number(3, start)] : [])]));
  const labels = (...refs) => part(1, Buffer.concat(refs.map((r) => varint(r))));
  const counter = Buffer.concat([labels(1, 2, 3, 4), ...Array.from({ length: 60 }, (_, i) => sample(i * 2, now - (60 - i) * 1000, now - 100000)), part(5, Buffer.concat([number(1, 1), number(3, 5)]))]);
  const gauge = Buffer.concat([labels(1, 7, 3, 4), sample(41, now - 1000)]);
  const spans = part(11, Buffer.concat([number(1, 0), number(2, 2)])), deltas = part(12, Buffer.concat([varint(2), varint(2)])); // zigzag: 1, 1 more
  const native = Buffer.concat([labels(1, 8, 3, 4), part(3, Buffer.concat([number(1, 3), double(3, 4.5), spans, deltas, number(15, now - 1000)]))]);
  const answer = await write2([counter, gauge, native], symbols);
  assert.equal(answer.status, 204, await answer.text());
  assert.equal(answer.headers.get("x-prometheus-remote-write-samples-written"), "61");
  assert.equal(answer.headers.get("x-prometheus-remote-write-histograms-written"), "1");
  assert.equal((await query(server, "written_total"))[0].value, 118);
  assert.equal((await query(server, "native"))[0].histogram.count, "3");
  assert.equal((await getJson(`${server.web}/api/v1/metadata?metric=written_total`)).body.data.written_total[0].help, "how many");
  // part of it cannot be taken: 400, the rest is there
  const mixed = await write2([Buffer.concat([labels(1, 7, 3, 4), sample(42, now), sample(1, 1000)])], symbols);
  assert.equal(mixed.status, 400);
  assert.equal(mixed.headers.get("x-prometheus-remote-write-samples-written"), "1");
  assert.match(await mixed.text(), /1 refused, the rest is stored/);
  assert.equal((await query(server, "fed_gauge"))[0].value, 42);
  assert.equal((await write2([labels(1, 99)], symbols)).status, 400);
  assert.equal((await write2([], symbols, "application/x-protobuf;proto=io.prometheus.write.v3.Request")).status, 415);
});

test("a Prometheus reads what is stored here, under the external labels", { skip }, async () => {
  const ask = async (expr) => (await getJson(`${theirs}/api/v1/query?query=${encodeURIComponent(expr)}`)).body.data?.result ?? [];
  await eventually(async () => (await fetch(`${theirs}/-/ready`)).ok, 30000);
  const [series] = await eventually(async () => { const r = await ask("written_total"); return r.length && r; }, 30000);
  assert.deepEqual(series.metric, { __name__: "written_total", job: "api", cluster: "eu", replica: "a" });
  assert.equal(series.value[1], "118");
  assert.equal((await ask('written_total{cluster="eu", job=~"a.+", nothing!="x"}')).length, 1);
  assert.equal((await ask('written_total{cluster="us"}')).length, 0);
  assert.equal((await ask('{__name__=~"writ.*", job!~"other|more"}')).length, 1);
  const here = (await query(server, "rate(written_total[50s])"))[0].value;
  const [there] = await ask("rate(written_total[50s])");
  assert.ok(Math.abs(Number(there.value[1]) - here) < 0.3, `${there.value[1]} and ${here}`);
});

test("a Prometheus that prefers OpenMetrics scrapes the program's own metrics", { skip }, async () => {
  const ask = async (expr) => (await getJson(`${theirs}/api/v1/query?query=${encodeURIComponent(expr)}`)).body.data?.result ?? [];
  await eventually(async () => (await ask('up{job="self"}'))[0]?.value[1] === "1", 30000);
  assert.ok(Number((await ask('telltale_store_commits_total{job="self"}'))[0].value[1]) > 0);
  const metadata = (await getJson(`${theirs}/api/v1/metadata?metric=telltale_store_commits`)).body.data;
  assert.equal(metadata.telltale_store_commits[0].type, "counter"); // the family's name: it was read as OpenMetrics
  const answer = await fetch(`${server.web}/metrics`, { headers: { accept: "application/openmetrics-text;version=1.0.0,text/plain;q=0.5" } });
  assert.match(answer.headers.get("content-type"), /^application\/openmetrics-text; version=1.0.0/);
  const text = await answer.text();
  assert.ok(text.endsWith("\n# EOF\n"));
  assert.match(text, /^# TYPE telltale_store_commits counter\n# HELP telltale_store_commits .*\ntelltale_store_commits_total \d+$/m);
});

test("federation carries the external labels", { skip }, async () => {
  const page = await (await fetch(`${server.web}/federate?match[]=fed_gauge`)).text();
  assert.match(page, /^fed_gauge\{cluster="eu",job="api",replica="a"\} 42 \d+$/m);
  const scraped = async () => (await getJson(`${theirs}/api/v1/query?query=up{job="federate"}`)).body.data?.result[0]?.value[1] === "1";
  await eventually(scraped, 30000);
});

test("a read request that is none is refused with a sentence", async () => {
  const post = (body, encoding = "snappy") => fetch(`${server.web}/api/v1/read`, { method: "POST", body, headers: { "content-type": "application/x-protobuf", "content-encoding": encoding } });
  for (const [body, says] of [
    [Buffer.from("no snappy"), /./],
    [snappy(Buffer.from([0x0a, 0x7f, 1])), /no protobuf of one/],
    [snappy(part(1, part(3, Buffer.concat([number(1, 9), text(2, "a")])))), /a matcher of the read request is not valid/],
    [snappy(part(1, part(3, Buffer.concat([number(1, 2), text(2, "a"), text(3, "(")])))), /matchers of the read request/],
  ]) {
    const answer = await post(body);
    assert.equal(answer.status, 400);
    assert.match((await answer.json()).error, says);
  }
});
