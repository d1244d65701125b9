// Messages of a real Kafka broker, each stored once: nodes and broker are killed (-9) again and again while a producer writes.
//
//   node kafka.mjs [--messages 20000] [--broker-kills 2] [--kills 4] [--stops 1] [--static | --group] [--rebalance] [--binary PROGRAM] [--expect WHAT]
//
//   one node         reads all partitions; with --rebalance as the member of a group that another joins and leaves all the time
//   --static         two nodes, half of the partitions each; they are killed by turns
//   --group          two nodes share the partitions as the group says; one dies again and again, and every other time the second has taken its
//                    partitions over before it comes back; --stops: times it stands still so long that it is taken over, and then goes on
//                    (a zombie); with --rebalance a third node joins and leaves all the time
//
// Each message is one span with a number; a few are poison. In the end every number must be there: once on one node; in a group perhaps on two,
// if a range that the nodes have recorded says so, with both ends. The derived counter of a node must be equal to the number of its spans, and
// nothing may have needed the store's search for repeated spans. Exit code 77: there is no broker to be had here.
// --expect twice | lost | outside: a program with that defect must be caught.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { makeBroker, whyNoBroker } from "./broker.mjs";
import { judge, message, poisonOf, readNode, readPlaces, topic } from "./kafka_ledger.mjs";
import { comeAndGo, makeNode, sessionMs } from "./kafka_members.mjs";
import { getJson, program, sleep, temporaryDirectory } from "./server.mjs";

const { values: options } = parseArgs({
  options: {
    messages: { type: "string", default: "20000" },
    "broker-kills": { type: "string", default: "2" },
    kills: { type: "string", default: "4" },
    stops: { type: "string", default: "0" },
    binary: { type: "string", default: program },
    static: { type: "boolean", default: false },
    group: { type: "boolean", default: false },
    rebalance: { type: "boolean", default: false },
    expect: { type: "string" },
  },
});
const messages = Number(options.messages), kills = Number(options.kills), brokerKills = Number(options["broker-kills"]), stops = Number(options.stops);
const partitions = 6, started = Date.now(), isPoison = poisonOf(messages);
const hasGroup = options.group || (options.rebalance && !options.static); // partitions are the group's to give
const seconds = () => `${Math.round((Date.now() - started) / 1000)} s`;

const why = whyNoBroker();
if (why) {
  console.log(`skipped: ${why}`);
  process.exit(77);
}

const directory = temporaryDirectory(), broker = await makeBroker(directory, partitions);
await broker.start();
console.log(`broker up after ${seconds()}`);

// An idempotent producer: what it repeats after a broker's death is there once. The number is the message's key, too.
let produced = 0, producerSaid = "";
const settings = ["enable.idempotence=true", "message.timeout.ms=0", "linger.ms=5", "topic.metadata.refresh.interval.ms=1000", "reconnect.backoff.max.ms=500"];
const producer = spawn("kcat", ["-P", "-E", "-K", "\t", "-b", broker.address, "-t", topic, ...settings.flatMap((s) => ["-X", s])], { stdio: ["pipe", "ignore", "pipe"] });
producer.stderr.on("data", (chunk) => (producerSaid = (producerSaid + chunk).slice(-2000)));
const producerEnd = new Promise((resolve) => producer.on("exit", resolve));
const pace = ((kills + stops) * (hasGroup ? 8 : 3) + brokerKills * 8) * 1000; // so that there is something to kill in
async function produce(begun) {
  for (; produced < messages; produced++) {
    if (!producer.stdin.write(`${produced}\t${message(produced, isPoison)}\n`)) await new Promise((resolve) => producer.stdin.once("drain", resolve));
    if (produced % 200 === 0) await sleep(Math.max(0, (produced / messages) * pace - (Date.now() - begun)));
  }
  producer.stdin.end();
  await producerEnd;
}

const make = (name, part) => makeNode({ name, address: broker.address, binary: options.binary, partitions: part === undefined ? undefined : `${topic}:${part}` });
const nodes = options.group ? [make("a"), make("b")]
  : options.static ? [make("a", `0-${partitions / 2 - 1}`), make("b", `${partitions / 2}-${partitions - 1}`)]
    : [make("a", hasGroup ? undefined : `0-${partitions - 1}`)];
const third = options.group && options.rebalance ? make("c") : undefined, all = third ? [...nodes, third] : nodes;
for (const node of nodes) await node.start();
const guest = options.rebalance ? comeAndGo({ address: broker.address, node: third }) : undefined;
const produceDone = produce(Date.now());

// Until the others have all partitions; false: they do not get them.
async function isTakenOver(victim) {
  for (const end = Date.now() + sessionMs * 4; Date.now() < end; await sleep(200)) {
    const states = await Promise.all(all.filter((n) => n !== victim && n.isUp()).map((n) => n.state()));
    if (states.reduce((sum, s) => sum + s.partitions, 0) >= partitions) return true;
  }
  return false;
}
// Until messages are being stored, so that what dies next dies at work.
async function flows() {
  const stored = async () => (await Promise.all(nodes.map((n) => n.count("spans").catch(() => 0)))).reduce((a, b) => a + b);
  for (const from = await stored(), end = Date.now() + 20000; produced < messages && Date.now() < end && (await stored()) < from + 100; ) await sleep(100);
}
// Nothing stays behind when something fails.
for (const what of ["uncaughtException", "unhandledRejection"])
  process.on(what, (e) => {
    console.log(`FAILED: ${e.stack}`);
    producer.kill("SIGKILL");
    for (const node of all) node.server()?.process.kill("SIGKILL");
    broker.kill().finally(() => process.exit(1));
  });
const done = { kills: 0, brokerKills: 0, stops: 0, takenOver: 0 };
async function killNode() {
  const victim = options.static ? nodes[done.kills % 2] : nodes[0];
  if (++done.kills % 3 === 0) fetch(`${victim.server().web}/api/telltale/v1/admin/flush`, { method: "POST" }).catch(() => {});
  await victim.kill();
  if (options.group && done.kills % 2 === 1) done.takenOver += await isTakenOver(victim);
  await victim.start();
}
async function stopNode() {
  const victim = nodes[0], running = victim.server().process;
  done.stops++;
  running.kill("SIGSTOP");
  done.takenOver += await isTakenOver(victim);
  running.kill("SIGCONT");
}
// The three kinds by turns, each as often as it was asked for.
const due = () => [["kills", kills, killNode], ["brokerKills", brokerKills, () => broker.kill().then(() => broker.start())], ["stops", stops, stopNode]]
  .filter(([what, count]) => done[what] < count).sort(([a, m], [b, n]) => done[a] / m - done[b] / n)[0];
for (let next; (next = due()); ) {
  await sleep((hasGroup ? 3000 : 500) + Math.random() * 1500);
  await flows();
  if (next[0] === "brokerKills") done.brokerKills++;
  await next[2]();
  console.log(`${done.kills} kills of a node, ${done.brokerKills} of the broker, ${done.stops} stops, ${done.takenOver} times taken over, ${guest?.turns() ?? 0} visits; ${produced} messages written, ${seconds()}`);
}
await produceDone;
await guest?.end();
console.log(`everything is written after ${seconds()}; the log: ${producerSaid.trim().split("\n").slice(-1)}`);

// Until everything is read: by nodes that have all partitions, none of them behind, for three seconds.
for (let quiet = 0, end = Date.now() + 300000; quiet < 6 && Date.now() < end; await sleep(500)) {
  const states = await Promise.all(nodes.map((n) => n.state()));
  const sum = (what) => states.reduce((total, s) => total + s[what], 0);
  const counts = await Promise.all(nodes.map((n) => n.count("spans")));
  quiet = sum("partitions") === partitions && sum("lag") === 0 && (third || counts.reduce((a, b) => a + b) >= messages * 0.99) ? quiet + 1 : 0;
}
if (third) await third.start(); // so that it can be asked; it takes what it took
await sleep(3000);
const places = await readPlaces(broker.address, messages), found = [];
console.log(`everything is read after ${seconds()}`);
let areRight = places.again === 0 && !places.partition.includes(-1);
if (!areRight) console.log(`the log itself is not as it should be: ${places.again} messages again`);
for (const node of all) {
  const { times, strange } = await readNode(node.server().web, messages, isPoison, places), ranges = await node.overlaps();
  const rows = times.reduce((sum, t, n) => sum + (isPoison(n) ? 0 : t > 0), 0), spans = await node.count("spans"), accounts = await node.accounts();
  const isRight = strange === 0 && spans === rows && accounts.received === rows && accounts.duplicate === 0 && accounts.calls === rows;
  areRight &&= isRight;
  found.push({ times, ranges, ...accounts });
  const kinds = ["crash", "takeover", "handover"].map((kind) => `${kind} ${ranges.filter((r) => r.kind === kind).length}`);
  console.log(`node ${node.name}: ${JSON.stringify({ rows, spans, strange, ...accounts, ranges: ranges.length, kinds })}${isRight ? "" : " NOT RIGHT"}`);
}
const ranges = found.flatMap((f) => f.ranges), verdict = judge({ messages, places, nodes: found.map((f) => f.times), ranges });
const inRanges = ranges.filter((r) => r.to !== null).reduce((sum, r) => sum + r.to - r.from, 0);
console.log(`${seconds()}: ${JSON.stringify({ messages, ...verdict, ranges: ranges.length, closed: ranges.filter((r) => r.to !== null).length, inRanges, visits: guest?.turns() ?? 0, ...done })}`);

// What was kept of a message can be read again, once mended: on the first node that kept one. In a group that may be any of them.
async function isReplayed() {
  const keptBy = async (node) => (await getJson(`${node.server().web}/api/telltale/v1/quarantine/messages?limit=1`)).body.messages[0];
  const held = await Promise.all(nodes.map(keptBy)), at = held.findIndex((k) => k);
  if (at < 0) return false;
  const node = nodes[at], kept = held[at], before = await node.count("spans");
  const path = `${kept.topic}/${kept.partition}/${kept.offset}`, body = message(messages, () => false, "mended");
  const text = await (await fetch(`${node.server().web}/api/telltale/v1/quarantine/messages/${path}`)).text();
  const { stored } = await (await fetch(`${node.server().web}/api/telltale/v1/admin/quarantine/replay/${path}`, { method: "POST", body })).json();
  return stored === 1 && (await node.count("spans")) === before + 1 && text.startsWith('{"resourceSpans": poison');
}
const replayed = options.expect || (await isReplayed());
for (const node of all) {
  const metrics = await node.metrics();
  console.log(metrics.split("\n").filter((l) => /^telltale_(kafka|store_claims)/.test(l)).map((l) => `${node.name}: ${l}`).join("\n"));
  await (options.expect ? node.kill() : node.stop());
  console.log(node.said().map((l) => `${node.name}: ${l}`).join("\n"));
  node.remove();
}
await broker.kill();
rmSync(directory, { recursive: true, force: true });
if (options.expect) {
  const counts = { twice: verdict.twice + found.reduce((sum, f) => sum + f.duplicate, 0), lost: verdict.missing, outside: verdict.outside };
  console.log(counts[options.expect] > 0 ? `${options.expect}: ${counts[options.expect]}, as it must be` : `NOTHING ${options.expect}: the test cannot see what it is for`);
  process.exit(counts[options.expect] > 0 ? 0 : 1);
}
const clean = areRight && replayed && verdict.missing === 0 && verdict.twice === 0 && verdict.outside === 0 && (options.group || verdict.onSeveral === 0);
console.log(clean ? `${messages} messages, ${verdict.onSeveral ? `${verdict.onSeveral} of them on two nodes, as recorded` : "each stored once"}` : `FAILED${replayed ? "" : " (replay)"}`);
process.exit(clean ? 0 : 1);
