// A real Kafka broker: one node (KRaft), its jars by Maven, on free ports of loopback, its data in a directory of its own.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sleep } from "./server.mjs";

const pom = fileURLToPath(new URL("./kafka/pom.xml", import.meta.url));
const lib = fileURLToPath(new URL("../../build/kafka/lib", import.meta.url));

// Why there can be no broker here; undefined: there can.
export function whyNoBroker() {
  for (const tool of ["java", "mvn", "kcat"])
    if (spawnSync(tool, ["-version"]).error && spawnSync(tool, ["-V"]).error) return `${tool} is not installed`;
  if (existsSync(lib) && readdirSync(lib).some((name) => name.startsWith("kafka_"))) return undefined;
  mkdirSync(lib, { recursive: true });
  const got = spawnSync("mvn", ["-q", "-B", "-f", pom, "dependency:copy-dependencies", `-DoutputDirectory=${lib}`], { encoding: "utf8", timeout: 300000 });
  return got.status === 0 ? undefined : `Maven could not bring the broker's jars: ${(got.stdout + got.stderr).slice(-500)}`;
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => (socket.destroy(), resolve(true)));
    socket.on("error", () => resolve(false));
  });
}

// A key of its own and its certificate, for 127.0.0.1: the broker's pem with both, and the certificate alone, which clients trust.
function makeCertificate(directory) {
  const key = join(directory, "key.pem"), certificate = join(directory, "certificate.pem"), both = join(directory, "broker.pem");
  const made = spawnSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`openssl: ${made.stderr}`);
  writeFileSync(both, readFileSync(key, "utf8") + readFileSync(certificate, "utf8"));
  return { both, certificate };
}

// Two more doors, for people with a name and a password: one in the clear, one with TLS.
async function makeDoors(directory) {
  const { both, certificate } = makeCertificate(directory), clear = await freePort(), tls = await freePort();
  const plain = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_telltale="a password";';
  const scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
  return {
    addresses: { certificate, clear: `127.0.0.1:${clear}`, tls: `127.0.0.1:${tls}` },
    listeners: `,CLEAR://127.0.0.1:${clear},TLS://127.0.0.1:${tls}`,
    protocols: ",CLEAR:SASL_PLAINTEXT,TLS:SASL_SSL",
    format: ["--add-scram", "SCRAM-SHA-256=[name=telltale,password=a password]", "--add-scram", "SCRAM-SHA-512=[name=telltale,password=a password]"],
    properties: `sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
${["clear", "tls"].map((door) => `listener.name.${door}.plain.sasl.jaas.config=${plain}\nlistener.name.${door}.scram-sha-256.sasl.jaas.config=${scram}\nlistener.name.${door}.scram-sha-512.sasl.jaas.config=${scram}`).join("\n")}
ssl.keystore.type=PEM
ssl.keystore.location=${both}
`,
  };
}

// {address, doors, start(), kill()}; start and kill may take turns. doors: only withDoors, see makeDoors.
export async function makeBroker(directory, partitions, { withDoors } = {}) {
  const port = await freePort(), controller = await freePort(), doors = withDoors ? await makeDoors(directory) : undefined;
  const properties = join(directory, "server.properties"), logging = join(directory, "log4j.properties");
  writeFileSync(
    properties,
    `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}${doors?.listeners ?? ""}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}${doors?.listeners ?? ""}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT${doors?.protocols ?? ""}
log.dirs=${join(directory, "logs")}
num.partitions=${partitions}
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=true
${doors?.properties ?? ""}`,
  );
  writeFileSync(logging, "log4j.rootLogger=ERROR, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\nlog4j.appender.out.layout=org.apache.log4j.SimpleLayout\n");
  const java = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", `-Dlog4j.configuration=file:${logging}`, "-cp", `${lib}/*`];
  const made = spawnSync("java", [...java, "kafka.tools.StorageTool", "format", "-t", "dGVsbHRhbGUtdGVzdC0wMA", "-c", properties, ...(doors?.format ?? [])], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`the broker's storage cannot be made: ${made.stdout}${made.stderr}`);
  let child, said = "", exited;
  return {
    address: `127.0.0.1:${port}`,
    doors: doors?.addresses,
    said: () => said,
    async start() {
      child = spawn("java", [...java, "kafka.Kafka", properties], { stdio: ["ignore", "pipe", "pipe"] });
      for (const out of [child.stdout, child.stderr]) out.on("data", (chunk) => (said = (said + chunk).slice(-20000)));
      exited = new Promise((resolve) => child.on("exit", resolve));
      for (const end = Date.now() + 120000; !(await accepts(port)); await sleep(100))
        if (Date.now() > end || child.exitCode !== null) throw new Error(`the broker does not come up: ${said}`);
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
