// What was sent, where Kafka keeps it, on which nodes it is stored, and what is to be said of that.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { getJson } from "./server.mjs";

export const topic = "otlp_spans", spansPerTrace = 1000;
const hex = (n, digits) => n.toString(16).padStart(digits, "0");
const mask = (1n << 64n) - 1n;
// Spread over the whole range, as ids of traces are.
const traceOf = (n) => `${hex((BigInt(Math.floor(n / spansPerTrace) + 1) * 0x9e3779b97f4a7c15n) & mask, 16)}${hex(n - (n % spansPerTrace) + 1, 16)}`;

// Which of the messages are poison: at most as many as one answer about the quarantine holds.
export function poisonOf(messages) {
  const every = Math.max(1000, Math.ceil(messages / 1000));
  return (n) => n % every === every - 1;
}

// Message n, whatever its name: one span with the number as its id, or what cannot be decoded.
export function message(n, isPoison, name = `chat ${n}`) {
  if (isPoison(n)) return `{"resourceSpans": poison ${n}`;
  const now = BigInt(Date.now()) * 1000000n;
  const span = {
    traceId: traceOf(n),
    spanId: hex(n + 1, 16),
    name,
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

// Where each message is, as Kafka's own log says: {partition[n], offset[n], again}; again: messages that the log itself has more than once.
export async function readPlaces(address, messages) {
  const places = { partition: new Int16Array(messages).fill(-1), offset: new Int32Array(messages), again: 0 };
  const kcat = spawn("kcat", ["-C", "-q", "-e", "-b", address, "-t", topic, "-o", "beginning", "-f", "%p %o %k\n"], { stdio: ["ignore", "pipe", "ignore"] });
  for await (const text of createInterface({ input: kcat.stdout })) {
    const [partition, offset, n] = text.split(" ").map(Number);
    if (places.partition[n] >= 0) places.again++;
    places.partition[n] = partition;
    places.offset[n] = offset;
  }
  return places;
}

// How often each message is on one node: {times[n], strange}; strange: spans that nobody sent.
export async function readNode(web, messages, isPoison, places) {
  const times = new Uint8Array(messages), found = { times, strange: 0 };
  const readTrace = async (first) => {
    const { status, body } = await getJson(`${web}/jaeger/api/traces/${traceOf(first)}`);
    if (status !== 200 && status !== 404) throw new Error(`the trace of message ${first}: ${status} ${JSON.stringify(body)}`);
    for (const span of status === 200 ? body.data[0].spans : []) {
      const n = parseInt(span.spanID, 16) - 1;
      if (n < messages && span.operationName === `chat ${n}`) times[n]++;
      else found.strange++;
    }
  };
  for (let first = 0; first < messages; first += 4 * spansPerTrace)
    await Promise.all([0, 1, 2, 3].map((i) => first + i * spansPerTrace).filter((n) => n < messages).map(readTrace));
  const at = new Map();
  for (let n = 0; n < messages; n++) if (isPoison(n)) at.set(`${places.partition[n]}/${places.offset[n]}`, n);
  const { messages: kept } = (await getJson(`${web}/api/telltale/v1/quarantine/messages?limit=1000`)).body;
  for (const m of kept) {
    const n = m.topic === topic && m.signal === "spans" && m.reason && m.kept === m.size ? at.get(`${m.partition}/${m.offset}`) : undefined;
    if (n === undefined) found.strange++;
    else times[n]++;
  }
  return found;
}

// nodes: times[n] of each; ranges: {partition, from, to} that are recorded as possibly on two nodes, to: the first that is not, null: not known.
// A repeat counts as recorded only inside a range whose end is known.
export function judge({ messages, places, nodes, ranges }) {
  const verdict = { missing: 0, twice: 0, onSeveral: 0, outside: 0, examples: [] };
  const closed = ranges.filter((r) => r.to !== null);
  const note = (what, n) => {
    verdict[what]++;
    if (verdict.examples.length < 10) verdict.examples.push(`${what}: ${n} at [${places.partition[n]}] ${places.offset[n]}, on ${nodes.map((times) => times[n])}`);
  };
  for (let n = 0; n < messages; n++) {
    const on = nodes.filter((times) => times[n] > 0).length;
    if (on === 0) note("missing", n);
    if (nodes.some((times) => times[n] > 1)) note("twice", n);
    if (on < 2) continue;
    verdict.onSeveral++;
    if (!closed.some((r) => r.partition === places.partition[n] && places.offset[n] >= r.from && places.offset[n] < r.to)) note("outside", n);
  }
  return verdict;
}
