// Kills the server again and again under load, with a ledger of what it acknowledged; then looks for every row.
//
//   node kill.mjs [--kills 200] [--binary PROGRAM] [--seed N] [--expect-loss]
//
// Clients behave as OTLP exporters do: an answer that never came is sent again, the same bytes. At the end each acknowledged span must be
// there once and unchanged, and the derived call counter must equal the number of spans. --expect-loss turns the verdict round: the run
// passes only if rows are missing (a program that acknowledges before it commits must be caught).
import { readdirSync, rmSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import { parseArgs } from "node:util";
import { getJson, query, sleep, startServer, temporaryDirectory, program } from "./server.mjs";

const { values: options } = parseArgs({
  options: {
    kills: { type: "string", default: "200" },
    binary: { type: "string", default: program },
    seed: { type: "string", default: "1" },
    clients: { type: "string", default: "6" },
    "expect-loss": { type: "boolean", default: false },
  },
});
const kills = Number(options.kills), spansPerTrace = 20;

let state = BigInt(options.seed);
function random() {
  state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
  return Number(state >> 33n) / 2 ** 31;
}

const agent = new Agent({ keepAlive: true, maxSockets: Number(options.clients) });

function post(url, body) {
  return new Promise((resolve, reject) => {
    const req = httpRequest(url, { method: "POST", agent, timeout: 5000, headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) } }, (res) => {
      let text = "";
      res.on("data", (c) => (text += c));
      res.on("end", () => resolve({ status: res.statusCode, text }));
      res.on("error", reject);
    });
    req.on("timeout", () => req.destroy(new Error("timeout")));
    req.on("error", reject);
    req.end(body);
  });
}

const spanIdOf = (n, i) => `f${(n * 100 + i).toString(16).padStart(15, "0")}`;
let serial = 0;
function makeBatch() {
  const n = ++serial;
  const traceId = `f${n.toString(16).padStart(31, "0")}`;
  const now = BigInt(Date.now()) * 1000000n;
  const spans = Array.from({ length: spansPerTrace }, (_, i) => ({
    traceId,
    spanId: spanIdOf(n, i),
    name: `chat ${n}-${i}`,
    kind: 3,
    startTimeUnixNano: String(now - 1000000n * BigInt(i + 1)),
    endTimeUnixNano: String(now),
    attributes: [
      { key: "gen_ai.operation.name", value: { stringValue: "chat" } },
      { key: "gen_ai.request.model", value: { stringValue: "gpt-4o-mini" } },
      { key: "gen_ai.usage.input_tokens", value: { intValue: String(n % 1000) } },
      { key: "check", value: { stringValue: `${n}:${i}:${(n * 7919 + i * 104729) % 1000003}` } },
    ],
  }));
  const body = JSON.stringify({ resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "kill" } }] }, scopeSpans: [{ scope: { name: "kill" }, spans }] }] });
  return { n, traceId, body };
}

const acknowledged = new Map(); // trace id -> serial
const open = []; // batches whose answer never came: sent again first
let server, stopping = false, refused = 0, unbalanced = 0;

async function client() {
  while (!stopping) {
    const target = server;
    if (!target) {
      await sleep(5);
      continue;
    }
    const batch = open.pop() ?? makeBatch();
    try {
      const answer = await post(`${target.otlpHttp}/v1/traces`, batch.body);
      if (answer.status === 200 && !/partialSuccess/.test(answer.text)) {
        acknowledged.set(batch.traceId, batch.n);
        await sleep(60); // enough rows to lose, few enough to look at each of them afterwards
      }
      else if (answer.status === 503 || answer.status === 429) {
        if (refused++ === 0) console.log(`first refusal: ${answer.status} ${answer.text}`);
        open.push(batch);
        await sleep(20);
      } else throw Object.assign(new Error(`${answer.status} ${answer.text}`), { fatal: true });
    } catch (e) {
      if (e.fatal) throw e;
      open.push(batch); // unknown outcome
      await sleep(5);
    }
  }
}

// What is wrong with one acknowledged trace.
async function verifyOne(end, traceId, n, wrong) {
  const { status, body } = await getJson(`${end.web}/jaeger/api/traces/${traceId}`);
  const seen = new Map();
  for (const span of status === 200 ? body.data[0].spans : []) seen.set(span.spanID, [...(seen.get(span.spanID) ?? []), span]);
  for (let i = 0; i < spansPerTrace; i++) {
    const found = seen.get(spanIdOf(n, i)) ?? [];
    const check = found[0]?.tags.find((t) => t.key === "check")?.value;
    if (found.length === 0) wrong.missing++;
    else if (found.length > 1) wrong.duplicated++;
    else if (check !== `${n}:${i}:${(n * 7919 + i * 104729) % 1000003}` || found[0].operationName !== `chat ${n}-${i}`) wrong.altered++;
  }
}

async function verify(end) {
  const wrong = { missing: 0, duplicated: 0, altered: 0 }, left = [...acknowledged];
  const worker = async () => {
    for (let next; (next = left.pop()); ) await verifyOne(end, next[0], next[1], wrong);
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  return wrong;
}

// received = stored + duplicate + rejected + quarantined, as the API and /metrics have it, and both say the same.
async function accountsOf(target) {
  const { accounts } = (await getJson(`${target.web}/api/telltale/v1/accounts`)).body;
  const spans = accounts.find((a) => a.signal === "spans") ?? { received: 0, stored: 0, duplicate: 0, quarantined: 0, rejected: {} };
  const text = await (await fetch(`${target.web}/metrics`)).text();
  const metric = (state) => Number(new RegExp(`^telltale_rows_total\\{org="1",signal="spans",state="${state}"\\} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  let rejected = 0;
  for (const [, n] of text.matchAll(/^telltale_rows_rejected_total\{org="1",signal="spans",reason="[^"]*"\} (\d+)$/gm)) rejected += Number(n);
  const sum = (o) => o.stored + o.duplicate + o.quarantined;
  const shown = { received: metric("received"), stored: metric("stored"), duplicate: metric("duplicate"), quarantined: metric("quarantined") };
  const refused = Object.values(spans.rejected).reduce((a, b) => a + b, 0);
  return { stored: spans.stored, exact: spans.received === sum(spans) + refused, shown: shown.received === sum(shown) + rejected, shownStored: shown.stored };
}

const data = temporaryDirectory();
const started = Date.now();
server = await startServer({ data, binary: options.binary, keep: true });
const clients = Array.from({ length: Number(options.clients) }, () => client());
const failed = Promise.all(clients);
failed.catch(() => {});
for (let i = 0; i < kills; i++) {
  await Promise.race([sleep(30 + random() * 400), failed]);
  const victim = server;
  if (i % 7 === 3) fetch(`${victim.web}/api/telltale/v1/admin/flush`, { method: "POST" }).catch(() => {}); // die in the middle of a flush, too
  if (i % 7 === 3) await sleep(random() * 30);
  server = undefined;
  await victim.kill();
  const next = await startServer({ data, binary: options.binary, keep: true });
  if (i % 5 === 0) {
    const a = await accountsOf(next); // nobody sends yet: what the journal says
    if (!a.exact || !a.shown || a.stored !== a.shownStored) unbalanced++;
  }
  server = next;
  if ((i + 1) % 20 === 0 || i + 1 === kills) console.log(`${i + 1} kills, ${acknowledged.size * spansPerTrace} spans acknowledged, ${Math.round((Date.now() - started) / 1000)} s`);
}
stopping = true;
await failed;
// What is still open is settled as an exporter would: sent until it is answered.
while (open.length) {
  const batch = open.pop();
  const answer = await post(`${server.otlpHttp}/v1/traces`, batch.body);
  if (answer.status === 200) acknowledged.set(batch.traceId, batch.n);
  else open.push(batch);
}
await server.kill();
const end = await startServer({ data, binary: options.binary, keep: true });
const verdict = await verify(end);
const rows = acknowledged.size * spansPerTrace;
const count = (await getJson(`${end.web}/api/telltale/v1/count?signal=spans`)).body.count;
const calls = (await query(end, 'sum(last_over_time(llm_requests_total{service="kill"}[1d]))'))[0]?.value ?? 0;
const balance = await accountsOf(end);
if (!balance.exact || !balance.shown || balance.stored !== rows || balance.shownStored !== rows) unbalanced++;
const accounts = (await getJson(`${end.web}/api/telltale/v1/accounts`)).body;
await end.stop();
const left = readdirSync(data);
rmSync(data, { recursive: true, force: true });
console.log(JSON.stringify({ kills, rows, count, calls, refused, ...verdict, unbalanced, accounts, left }));
const clean = verdict.missing === 0 && verdict.duplicated === 0 && verdict.altered === 0 && unbalanced === 0 && count === rows && calls === rows && rows > kills * spansPerTrace;
if (options["expect-loss"]) {
  console.log(verdict.missing > 0 ? "rows are missing, as they must be" : "NO LOSS: the test cannot see what it is for");
  process.exit(verdict.missing > 0 ? 0 : 1);
}
console.log(clean ? "0 missing, 0 duplicated, 0 altered" : "FAILED");
agent.destroy();
process.exit(clean ? 0 : 1);
