// Messages of a real Kafka broker, each stored once: broker and server are killed (-9) again and again while a producer writes.
//
//   node kafka.mjs [--messages 20000] [--broker-kills 2] [--kills 4] [--group] [--binary PROGRAM] [--expect-twice]
//
// Each message is one span with a number; one in a thousand is poison. In the end every number must be there once, every poison message in
// the quarantine once, the derived counter equal to the number of spans, and nothing may have needed the store's search for repeated spans.
// Exit code 77: there is no broker to be had here. --expect-twice: a program that keeps its places apart from the rows must be caught.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { makeBroker, whyNoBroker } from "./broker.mjs";
import { getJson, program, query, sleep, startServer, temporaryDirectory } from "./server.mjs";

const { values: options } = parseArgs({
  options: {
    messages: { type: "string", default: "20000" },
    "broker-kills": { type: "string", default: "2" },
    kills: { type: "string", default: "4" },
    binary: { type: "string", default: program },
    group: { type: "boolean", default: false },
    "expect-twice": { type: "boolean", default: false },
  },
});
const messages = Number(options.messages), partitions = 6, spansPerTrace = 100, started = Date.now();
const seconds = () => `${Math.round((Date.now() - started) / 1000)} s`;

const why = whyNoBroker();
if (why) {
  console.log(`skipped: ${why}`);
  process.exit(77);
}

const hex = (n, digits) => n.toString(16).padStart(digits, "0");
const traceOf = (n) => `c${hex(Math.floor(n / spansPerTrace) + 1, 31)}`;
const isPoison = (n) => n % 1000 === 999;

function line(n) {
  if (isPoison(n)) return `{"resourceSpans": poison ${n}`;
  const now = BigInt(Date.now()) * 1000000n;
  const span = {
    traceId: traceOf(n),
    spanId: hex(n + 1, 16),
    name: `chat ${n}`,
    kind: 3,
    startTimeUnixNano: String(now),
    endTimeUnixNano: String(now + 1000000n),
    attributes: [
      { key: "gen_ai.operation.name", value: { stringValue: "chat" } },
      { key: "gen_ai.request.model", value: { stringValue: "gpt-4o-mini" } },
    ],
  };
  return JSON.stringify({ resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "kafka" } }] }, scopeSpans: [{ spans: [span] }] }] });
}

const directory = temporaryDirectory(), data = temporaryDirectory();
const broker = await makeBroker(directory, partitions);
await broker.start();
console.log(`broker up after ${seconds()}`);

// An idempotent producer: what it repeats after a broker's death is there once.
let produced = 0, producerSaid = "";
const producer = spawn("kcat", ["-P", "-E", "-b", broker.address, "-t", "otlp_spans", "-X", "enable.idempotence=true", "-X", "message.timeout.ms=0", "-X", "linger.ms=5"], { stdio: ["pipe", "ignore", "pipe"] });
producer.stderr.on("data", (chunk) => (producerSaid = (producerSaid + chunk).slice(-2000)));
const producerEnd = new Promise((resolve) => producer.on("exit", resolve));
async function produce() {
  for (; produced < messages; produced++) {
    if (!producer.stdin.write(`${line(produced)}\n`)) await new Promise((resolve) => producer.stdin.once("drain", resolve));
    if (produced % 200 === 0) await sleep(Math.max(0, (produced / messages) * pace - (Date.now() - begun)));
  }
  producer.stdin.end();
  await producerEnd;
}
const kills = Number(options.kills), brokerKills = Number(options["broker-kills"]);
const pace = (kills * (options.group ? 14 : 3) + brokerKills * 10) * 1000; // so that there is something to kill in
const begun = Date.now();
const produceDone = produce();

// With --group the partitions are the group's to give: a member that died keeps them until its session is over.
const args = ["--kafka", broker.address, ...(options.group ? [] : ["--kafka-partition", `otlp_spans:0-${partitions - 1}`])];
let server = await startServer({ data, args, keep: true, binary: options.binary });
for (let i = 0, b = 0; i < kills || b < brokerKills; ) {
  await sleep((options.group ? 12000 : 500) + Math.random() * 1500);
  if (i < kills && (b >= brokerKills || i * brokerKills <= b * kills)) {
    i++;
    if (i % 3 === 0) fetch(`${server.web}/api/telltale/v1/admin/flush`, { method: "POST" }).catch(() => {});
    await server.kill();
    server = await startServer({ data, args, keep: true, binary: options.binary });
  } else {
    b++;
    await broker.kill();
    await broker.start();
  }
  console.log(`${i} kills of the server, ${b} of the broker, ${produced} messages written, ${seconds()}`);
}
await produceDone;

const poison = Array.from({ length: messages }, (_, n) => n).filter(isPoison).length, rows = messages - poison;
const counted = async () => (await getJson(`${server.web}/api/telltale/v1/count?signal=spans`)).body.count;
for (const end = Date.now() + 300000; (await counted()) < rows && Date.now() < end; ) await sleep(200);
await sleep(2000);
console.log(`${await counted()} of ${rows} spans after ${seconds()}`);

const times = new Uint8Array(messages);
let strange = 0;
for (let first = 0; first < messages; first += spansPerTrace) {
  const { status, body } = await getJson(`${server.web}/jaeger/api/traces/${traceOf(first)}`);
  for (const span of status === 200 ? body.data[0].spans : []) {
    const n = parseInt(span.spanID, 16) - 1;
    if (n < messages && span.operationName === `chat ${n}`) times[n]++;
    else strange++;
  }
}
let missing = 0, twice = 0;
for (let n = 0; n < messages; n++) {
  if (!isPoison(n) && times[n] === 0) missing++;
  if (times[n] > 1) twice++;
}
const calls = (await query(server, 'sum(last_over_time(llm_requests_total{service="kafka"}[1d]))'))[0]?.value ?? 0;
const logs = (await getJson(`${server.web}/api/telltale/v1/count?signal=logs`)).body.count;
const count = await counted();
const { accounts } = (await getJson(`${server.web}/api/telltale/v1/accounts`)).body;
const { received, duplicate } = accounts.find((a) => a.signal === "spans");
const metrics = await (await fetch(`${server.web}/metrics`)).text();
const kept = (await getJson(`${server.web}/api/telltale/v1/quarantine/messages?limit=1000`)).body.messages;
const shown = kept.filter((m) => m.topic === "otlp_spans" && m.signal === "spans" && m.reason && m.kept === m.size).length;
const first = kept[0] && (await (await fetch(`${server.web}/api/telltale/v1/quarantine/messages/${kept[0].topic}/${kept[0].partition}/${kept[0].offset}`)).text());
const whole = line(messages).replace(`"chat ${messages}"`, '"mended"');
const mended = kept[0] && (await (await fetch(`${server.web}/api/telltale/v1/admin/quarantine/replay/${kept[0].topic}/${kept[0].partition}/${kept[0].offset}`, { method: "POST", body: whole })).json());
const replayed = mended?.stored === 1 && (await counted()) === count + 1 && first.startsWith('{"resourceSpans": poison');
await server.stop();
await broker.kill();
rmSync(data, { recursive: true, force: true });
rmSync(directory, { recursive: true, force: true });
console.log(metrics.split("\n").filter((l) => l.startsWith("telltale_kafka") || l.startsWith("telltale_store_claims")).join("\n"));
console.log(JSON.stringify({ messages, rows, count, missing, twice, strange, poison, quarantined: logs, shown, replayed, calls, received, duplicate, producer: producerSaid.trim().split("\n").slice(-2) }));
const clean = missing === 0 && twice === 0 && strange === 0 && count === rows && logs === poison && shown === Math.min(poison, 1000) && replayed && calls === rows && received === rows && duplicate === 0;
if (options["expect-twice"]) {
  const caught = twice + duplicate > 0;
  console.log(caught ? "messages are there twice, as they must be" : "NOTHING TWICE: the test cannot see what it is for");
  process.exit(caught ? 0 : 1);
}
console.log(clean ? `${messages} messages, each stored once` : "FAILED");
process.exit(clean ? 0 : 1);
