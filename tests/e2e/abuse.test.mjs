// Malformed, hostile and huge input over real sockets: the right refusal, a counter, and a server that goes on.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { eventually, getJson, sleep, startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

const traces = () => `${server.otlpHttp}/v1/traces`;
const post = (body, headers = {}, url = traces()) => fetch(url, { method: "POST", body, headers: { "content-type": "application/x-protobuf", ...headers } });
const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.process.pid}/status`, "utf8"))[1]) * 1024;

function raw(url, text, ms = 2000) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on("data", (c) => (answer += c));
    socket.on("error", () => resolve(answer));
    socket.on("close", () => resolve(answer));
    setTimeout(() => socket.destroy(), ms);
  });
}

test("a body that is no protobuf is refused with a status that says where", async () => {
  const answer = await post(Buffer.from([0x0a, 0x7f, 1, 2, 3]));
  assert.equal(answer.status, 400);
  assert.equal(answer.headers.get("content-type"), "application/x-protobuf");
  const json = await post('{"resourceSpans": [', { "content-type": "application/json" });
  assert.equal(json.status, 400);
  assert.match((await json.json()).message, /byte|offset/);
});

test("wrong content type, encoding, method and path have their own answers", async () => {
  assert.equal((await post("x", { "content-type": "text/plain" })).status, 415);
  assert.ok([400, 415].includes((await post("x", { "content-encoding": "br" })).status));
  const get = await fetch(traces());
  assert.equal(get.status, 405);
  assert.match(get.headers.get("allow"), /POST/);
  const noPath = await post("", {}, `${server.otlpHttp}/`);
  assert.equal(noPath.status, 404);
  assert.match(await noPath.text(), /\/v1\/traces/);
});

test("a compression bomb and deep nesting are stopped without their memory", async () => {
  const before = rss();
  const bomb = gzipSync(Buffer.alloc(400 << 20));
  const answer = await post(bomb, { "content-encoding": "gzip" });
  assert.equal(answer.status, 413);
  const field = (number, content) => {
    const length = [];
    for (let n = content.length; ; n >>= 7) {
      length.push(n > 127 ? (n & 127) | 128 : n);
      if (n <= 127) break;
    }
    return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), content]);
  };
  let deep = Buffer.alloc(0); // AnyValue.array_value (5) holds ArrayValue.values (1), by turns
  for (let i = 0; i < 200; i++) deep = field(i % 2 ? 5 : 1, deep);
  for (const number of [2, 1, 1, 1]) deep = field(number, deep); // KeyValue.value, Resource.attributes, ResourceSpans.resource, resource_spans
  assert.equal((await post(deep)).status, 400);
  const nested = `{"resourceSpans":${"[".repeat(5000)}${"]".repeat(5000)}}`;
  assert.equal((await post(nested, { "content-type": "application/json" })).status, 400);
  assert.ok(rss() - before < 300 << 20, `${(rss() - before) >> 20} MiB more`);
});

test("requests that proxies and servers read differently are refused", async () => {
  const head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  for (const bad of [
    `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}`,
    `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
    `${head}Content-Length : 2\r\n\r\n{}`,
    `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`,
  ])
    assert.match(await raw(server.otlpHttp, bad), /^HTTP\/1\.1 400/, bad);
});

test("a client at the wrong door is told which is the right one", async () => {
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  void preface;
  const onGrpc = await raw(server.otlpGrpc, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  assert.match(onGrpc, /4318|HTTP|gRPC/);
  const hello = Buffer.from("16030100c8010000c40303", "hex");
  const tls = await raw(server.otlpHttp, hello);
  assert.ok(tls.length === 0 || tls.charCodeAt(0) === 0x15, "a TLS alert");
});

test("thousands of slow connections neither crash nor fill the memory, and others are still served", async () => {
  const count = Number(process.env.TELLTALE_SLOW_CONNECTIONS ?? 1000);
  const { hostname, port } = new URL(server.otlpHttp);
  const before = rss();
  const sockets = [];
  for (let i = 0; i < count; i++) {
    const socket = connect(Number(port), hostname, () => socket.write("POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-Slow: "));
    socket.on("error", () => {});
    socket.resume();
    sockets.push(socket);
    if (i % 200 === 199) await sleep(20);
  }
  await sleep(500);
  const answer = await post("{}", { "content-type": "application/json" });
  assert.equal(answer.status, 200);
  const perConnection = (rss() - before) / count;
  assert.ok(perConnection < 40 << 10, `${perConnection} bytes a connection`);
  await eventually(() => sockets.every((s) => s.destroyed || s.readyState === "closed" || s.closed), 30000);
});

test("what was refused is counted", async () => {
  const page = await (await fetch(`${server.web}/metrics`)).text();
  assert.match(page, /telltale_\w+_total\{[^}]*\} [1-9]/);
  assert.equal((await getJson(`${server.web}/api/telltale/v1/count?signal=spans`)).body.count, 0);
});
