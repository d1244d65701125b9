// The readers of a topic: nodes that live on through their deaths, and members of the group that come and go.
import { spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { getJson, query, sleep, startServer, temporaryDirectory } from "./server.mjs";

export const sessionMs = 4000;

// A node: its directory stays when the process goes.
export function makeNode({ name, address, partitions, binary }) {
  const data = temporaryDirectory(), file = join(data, "kafka.properties");
  writeFileSync(file, `session.timeout.ms=${sessionMs}\nheartbeat.interval.ms=500\nreconnect.backoff.max.ms=1000\n`);
  const args = ["--kafka", address, "--kafka-config", file, ...(partitions ? ["--kafka-partition", partitions] : [])];
  let server, said = "";
  // What it says, with no numbers in it, and how often.
  const note = (log) => (said += log.replace(/^\S+ /gm, "").replace(/[0-9a-f]{16}|\d+/g, "N"));
  const node = {
    name,
    said: () => [...said.split("\n").reduce((m, line) => m.set(line, (m.get(line) ?? 0) + 1), new Map())].filter(([line]) => /^(warn|error) |told|got to/.test(line)).map(([line, n]) => `${n} x ${line}`),
    server: () => server,
    isUp: () => server !== undefined,
    async start() {
      server = await startServer({ data, args, keep: true, binary, timeoutMs: 120000 });
    },
    async kill() {
      const dying = server;
      server = undefined;
      await dying.kill();
      note(dying.log());
    },
    async stop() {
      const ending = server;
      server = undefined;
      await ending.stop();
      note(ending.log());
    },
    async metrics() {
      return server ? await (await fetch(`${server.web}/metrics`)).text() : "";
    },
    // What it reads now, and how far behind it is.
    async state() {
      const text = await node.metrics().catch(() => "");
      const value = (metric) => Number(new RegExp(`^${metric} (\\S+)$`, "m").exec(text)?.[1] ?? 0);
      return { partitions: value("telltale_kafka_partitions"), lag: value("telltale_kafka_lag_messages") };
    },
    count: async (signal) => (await getJson(`${server.web}/api/telltale/v1/count?signal=${signal}`)).body.count,
    overlaps: async () => (await getJson(`${server.web}/api/telltale/v1/quarantine/messages?limit=1`)).body.overlaps,
    // The derived counter, and what the store says of rows that came again.
    async accounts() {
      const { accounts } = (await getJson(`${server.web}/api/telltale/v1/accounts`)).body;
      const { received, duplicate } = accounts.find((a) => a.signal === "spans") ?? { received: 0, duplicate: 0 };
      const calls = (await query(server, 'sum(last_over_time(llm_requests_total{service="kafka"}[1d]))'))[0]?.value ?? 0;
      return { received, duplicate, calls };
    },
    remove: () => rmSync(data, { recursive: true, force: true }),
  };
  return node;
}

// A member of the group that reads another topic: the partitions are shared out again when it comes and goes. (As any member it might commit what it reads, so it
// must not be given partitions that are looked for here.)
function makeGuest(address) {
  let child, ended;
  return {
    async start() {
      const settings = ["partition.assignment.strategy=cooperative-sticky", "enable.auto.commit=false", `session.timeout.ms=${sessionMs}`];
      child = spawn("kcat", ["-b", address, ...settings.flatMap((s) => ["-X", s]), "-q", "-G", "telltale", "visitors"], { stdio: "ignore" });
      ended = new Promise((resolve) => child.on("exit", resolve));
    },
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 15000);
      await ended;
      clearTimeout(timer);
    },
  };
}

// Something joins the group and leaves it again until end() is called: {turns(), end()}. node: what joins; none: a guest.
export function comeAndGo({ address, node }) {
  const member = node ?? makeGuest(address);
  let turns = 0, over = false, failure;
  const loop = (async () => {
    for (; !over; turns++) {
      await member.start();
      await sleep(2500 + Math.random() * 3000);
      await member.stop();
      await sleep(500 + Math.random() * 1500);
    }
  })().catch((e) => (failure = e));
  return {
    turns: () => turns,
    async end() {
      over = true;
      await loop;
      if (failure) throw failure;
    },
  };
}
