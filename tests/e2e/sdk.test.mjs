// Real SDKs and instrumentations: what they send is found again, by its canonical names, in PromQL and in the traces.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { firstTokenMs, startOpenAi, usage } from "./fake_openai.mjs";
import { eventually, getJson, query, startServer } from "./server.mjs";

let server, openai;
before(async () => {
  server = await startServer();
  openai = await startOpenAi();
});
after(async () => {
  openai?.close();
  await server?.stop();
});

const here = new URL(".", import.meta.url).pathname;

async function runClient(instrumentation, exporter, service) {
  const endpoint = exporter === "grpc" ? server.otlpGrpc : server.otlpHttp;
  const { stdout } = await promisify(execFile)(process.execPath, ["sdk_client.cjs", instrumentation, exporter, endpoint, openai.url, service], { cwd: here, timeout: 60000 });
  return JSON.parse(stdout.trim().split("\n").at(-1));
}

const sum = (series) => series.reduce((total, s) => total + s.value, 0);
const over = "[1h]";
// Derived counters begin at midnight; the sum of what a test sent is the newest value, read without extrapolation.
const total = async (name, service, more = "") => sum(await query(server, `last_over_time(${name}{service="${service}"${more}}${over})`));

// What an instrumentation reports differs: some end no span for a refused call, some lose the usage of a stream.
async function checkService(service, traces, { calls, refused, usages, entries, content }) {
  await eventually(async () => (await total("llm_requests_total", service)) === calls);
  assert.equal(await total("llm_requests_total", service, ',outcome="ok"'), calls - refused);
  assert.equal(await total("llm_requests_total", service, ',outcome="rate_limited"'), refused);
  assert.equal(await total("llm_user_requests_total", service), entries, "each SERVER span is one user request");
  assert.equal(await total("llm_tokens_total", service, ',type="input",estimated=""'), usages * usage.prompt_tokens);
  assert.equal(await total("llm_tokens_total", service, ',type="output",estimated=""'), usages * usage.completion_tokens);
  const models = new Set((await query(server, `last_over_time(llm_requests_total{service="${service}",outcome="ok"}${over})`)).map((s) => s.labels.model));
  assert.deepEqual([...models], ["gpt-4o-mini"]);
  assert.ok((await total("llm_cost_nanousd_total", service)) > 0, "the calls are priced");
  const { status, body } = await getJson(`${server.web}/jaeger/api/traces/${traces.streamed}`);
  assert.equal(status, 200);
  const spans = body.data[0].spans;
  assert.equal(spans.length, 2, "the request and its call");
  const call = spans.find((s) => s.references.length > 0);
  assert.ok(call.tags.length > 3, "raw attributes are kept");
  if (content) assert.match(JSON.stringify(call), /Is the lamp lit/);
}

for (const [instrumentation, exporter, expectations] of [
  ["opentelemetry", "http/protobuf", { calls: 3, refused: 1, usages: 2, entries: 3 }],
  ["opentelemetry", "grpc", { calls: 3, refused: 1, usages: 2, entries: 3 }],
  ["openllmetry", "http/json", { calls: 2, refused: 0, usages: 1, entries: 3, content: true }],
  ["openinference", "http/protobuf", { calls: 2, refused: 0, usages: 1, entries: 3, content: true }],
  ["manual", "http/json", { calls: 1, refused: 0, usages: 1, entries: 1 }],
]) {
  test(`${instrumentation} over ${exporter}: calls, tokens, cost, outcome and trace arrive`, async () => {
    const service = `${instrumentation}-${exporter.replace("/", "-")}`;
    const traces = await runClient(instrumentation, exporter, service);
    await checkService(service, traces, expectations);
  });
}

test("time to first token is measured from the request to the first visible token", async () => {
  const [{ value }] = await eventually(async () => {
    const found = await query(server, 'histogram_avg(sum(last_over_time(llm_time_to_first_token_seconds{service="manual-http-json"}[1h])))');
    return found.length === 1 && found;
  });
  assert.ok(value * 1000 >= firstTokenMs && value < 2, `${value} s`);
});

test("a counter of the metrics SDK and a log record arrive under their own names", async () => {
  const found = await eventually(async () => {
    const series = await query(server, 'last_over_time({__name__=~"e2e_requests.*"}[1h])');
    return series.length > 0 && series;
  });
  assert.ok(found.every((s) => s.value === 3));
  const { body } = await getJson(`${server.web}/api/telltale/v1/count?signal=logs`);
  assert.ok(body.count >= 1);
});

