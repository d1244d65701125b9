// Token events through a real Kafka broker, end to end: producer, broker and server side by side on this machine.
//   node kafka_tokens.mjs --binary PROGRAM --producer PROGRAM [--events 6000000] [--per 1]
import { execFile, spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { makeBroker, whyNoBroker } from "../e2e/broker.mjs";
import { getJson, query, sleep, startServer, temporaryDirectory } from "../e2e/server.mjs";

const { values: options } = parseArgs({ options: { binary: { type: "string" }, producer: { type: "string" }, events: { type: "string", default: "6000000" }, per: { type: "string", default: "1" } } });
const why = whyNoBroker();
if (why) {
  console.log(`skipped: ${why}`);
  process.exit(77);
}
const directory = temporaryDirectory(), broker = await makeBroker(directory, 6);
await broker.start();
for (let i = 0; i < 3; i++) spawnSync("kcat", ["-L", "-b", broker.address, "-t", "llm.token.events"]); // makes the topic
const server = await startServer({ binary: options.binary, args: ["--kafka", broker.address, "--kafka-partition", "llm.token.events:0-5", "--kafka-topic", "llm.token.events=tokens"] });
const cpu = () => readFileSync(`/proc/${server.process.pid}/stat`, "utf8").split(" ").slice(13, 15).reduce((a, b) => a + Number(b) / 100, 0);
const account = async () => (await getJson(`${server.web}/api/telltale/v1/accounts`)).body.accounts.find((a) => a.signal === "tokens") ?? { received: 0, stored: 0 };
await sleep(1000);

const begun = Date.now(), cpuBefore = cpu();
let said = "";
const producing = new Promise((resolve, reject) => execFile(options.producer, ["--brokers", broker.address, "--events", options.events, "--per", options.per], (e, out) => (e ? reject(e) : resolve((said = out.trim())))));
let last = 0, lastAt = begun;
for (const end = Date.now() + 600000; Date.now() < end; await sleep(200)) {
  const { received } = await account();
  if (received > last) [last, lastAt] = [received, Date.now()];
  if (said && (received >= Number(said.split(" ")[0]) || Date.now() - lastAt > 20000)) break;
}
await producing;
const seconds = (lastAt - begun) / 1000, spent = cpu() - cpuBefore, { received, stored } = await account(), wanted = Number(said.split(" ")[0]), streams = Number(said.split(" ")[3]);
let done = 0;
for (const end = Date.now() + 30000; done < streams && Date.now() < end; await sleep(500)) done = (await query(server, 'sum(last_over_time(llm_streams_total{result="complete"}[1d]))'))[0]?.value ?? 0;
console.log(`producer: ${said}`);
console.log(`server: ${received} of ${wanted} events received, ${stored} stored, in ${seconds.toFixed(1)} s: ${Math.round(received / seconds)}/s end to end, ${Math.round(received / spent)} per CPU second of the server; ${done} of ${streams} streams complete`);
if (!received) console.log(server.log().slice(-3000), (await (await fetch(`${server.web}/metrics`)).text()).split("\n").filter((l) => l.startsWith("telltale_kafka")).join("\n"), JSON.stringify((await getJson(`${server.web}/api/telltale/v1/accounts`)).body));
await server.stop();
await broker.kill();
rmSync(directory, { recursive: true, force: true });
process.exit(received === wanted && stored === wanted && done === streams ? 0 : 1);
