// A broker that wants names and passwords, with TLS and without, and messages in every compression: what is sent is there; with a wrong
// password nothing is, and the log says why. The wrong one stands in the client's properties, the right one in the YAML file. Exit code 77: there is no broker to be had here.
import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeBroker, whyNoBroker } from "./broker.mjs";
import { getJson, sleep, startServer, temporaryDirectory } from "./server.mjs";

const why = whyNoBroker();
if (why) {
  console.log(`skipped: ${why}`);
  process.exit(77);
}
const directory = temporaryDirectory(), codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
const broker = await makeBroker(directory, 2, { withDoors: true });
await broker.start();

let sent = 0;
function message() {
  const now = Date.now(), id = (n) => (++sent).toString(16).padStart(n, "0");
  const span = { traceId: id(32), spanId: id(16), name: "x".repeat(500), startTimeUnixNano: `${now}000000`, endTimeUnixNano: `${now}000001` };
  return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
}
// One door of the broker, as its clients describe it.
const ways = [
  { name: "PLAIN", address: broker.doors.clear, properties: { "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN" } },
  { name: "SCRAM-SHA-256", address: broker.doors.clear, properties: { "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256" } },
  { name: "SCRAM-SHA-512 and TLS", address: broker.doors.tls, properties: { "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "ssl.ca.location": broker.doors.certificate } },
];
let failed = 0;
for (const [n, way] of ways.entries()) {
  const topic = `spans-${n}`, file = join(directory, `${n}.properties`), data = temporaryDirectory();
  const properties = { ...way.properties, "sasl.username": "telltale", "sasl.password": "a password" };
  const write = (p) => writeFileSync(file, Object.entries(p).map(([k, v]) => `${k}=${v}\n`).join(""), { mode: 0o600 });
  const args = ["--kafka", way.address, "--kafka-topic", `${topic}=spans`], yaml = join(directory, `${n}.yaml`), password = join(directory, "password");
  const ca = way.properties["ssl.ca.location"];
  writeFileSync(password, "a password\n", { mode: 0o600 });
  writeFileSync(yaml, `kafka:\n  sasl:\n    mechanism: ${way.properties["sasl.mechanism"]}\n    user: telltale\n    password_file: ${password}\n${ca ? `  tls:\n    ca: ${ca}\n` : ""}`);
  const counted = async (server) => (await getJson(`${server.web}/api/telltale/v1/count?signal=spans`)).body.count;
  const produce = () => { for (const codec of codecs) {
    const kcat = spawnSync("kcat", ["-P", "-b", way.address, "-t", topic, "-z", codec, ...Object.entries(properties).flatMap(([k, v]) => ["-X", `${k}=${v}`])], { input: `${Array.from({ length: 20 }, message).join("\n")}\n`, encoding: "utf8" });
    if (kcat.status !== 0) throw new Error(`kcat, ${way.name}, ${codec}: ${kcat.stderr}`);
  } };
  if (n > 0) produce();
  write({ ...properties, "sasl.password": "another" });
  let server = await startServer({ data, args: [...args, "--kafka-config", file], keep: true });
  for (const end = Date.now() + 30000; !/authentication/i.test(server.log()) && Date.now() < end; ) await sleep(100);
  const refused = /authentication/i.test(server.log()) && !server.log().includes("another") && (await counted(server)) === 0 && (await fetch(`${server.web}/-/ready`)).status === 200;
  await server.kill();
  server = await startServer({ data, args: [...args, "--config", yaml], keep: true });
  if (n === 0) {
    await sleep(1500); // the topic is made while the server waits for it
    produce();
  }
  const wanted = codecs.length * 20;
  for (const end = Date.now() + 60000; (await counted(server)) < wanted && Date.now() < end; ) await sleep(100);
  const count = await counted(server);
  await server.kill();
  rmSync(data, { recursive: true, force: true });
  const fine = refused && count === wanted;
  failed += !fine;
  console.log(`${way.name}: ${count} of ${wanted} messages in ${codecs.length} codecs; a wrong password is ${refused ? "refused, and said" : "NOT SAID"}`);
}
await broker.kill();
rmSync(directory, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
