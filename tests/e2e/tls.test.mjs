// TLS with an own certificate on all three addresses: HTTP, gRPC and the page; a new certificate is taken without a restart.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { connect } from "node:tls";
import { after, before, test } from "node:test";
import { eventually, startServer, temporaryDirectory } from "./server.mjs";

const require = createRequire(import.meta.url);
const directory = temporaryDirectory();
const cert = join(directory, "cert.pem"), key = join(directory, "key.pem");
const missing = spawnSync("openssl", ["version"]).error;

function makeCertificate(name) {
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], { stdio: "ignore" });
}

let server;
before(async () => {
  if (missing) return;
  makeCertificate("first");
  server = await startServer({ args: ["--tls-cert", cert, "--tls-key", key] });
});
after(() => server?.stop());

const commonName = (url) =>
  new Promise((resolve, reject) => {
    const { port } = new URL(url);
    const socket = connect({ host: "127.0.0.1", port: Number(port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().subject.CN);
      socket.destroy();
    });
    socket.on("error", reject);
  });

test("spans arrive over gRPC with TLS", { skip: missing && "openssl is not installed" }, async () => {
  const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-grpc");
  const { NodeTracerProvider, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-node");
  const grpc = require("@grpc/grpc-js");
  const exporter = new OTLPTraceExporter({ url: server.otlpGrpc.replace("127.0.0.1", "localhost"), credentials: grpc.credentials.createSsl(readFileSync(cert)) });
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  provider.getTracer("tls").startSpan("sealed").end();
  await provider.forceFlush();
  await provider.shutdown();
  assert.match(server.otlpHttp, /^https:/);
  const { stdout } = spawnSync("curl", ["-s", "--cacert", cert, `${server.web}/api/telltale/v1/count?signal=spans`], { encoding: "utf8" });
  assert.equal(JSON.parse(stdout).count, 1);
});

test("plain text at a TLS address is told so", { skip: missing && "openssl is not installed" }, async () => {
  const answer = await fetch(`${server.otlpHttp.replace("https", "http")}/v1/traces`, { method: "POST", body: "{}" });
  assert.equal(answer.status, 400);
  assert.match(await answer.text(), /speaks TLS/);
});

test("a changed certificate is read again, a broken one is not taken", { skip: missing && "openssl is not installed" }, async () => {
  assert.equal(await commonName(server.web), "first");
  makeCertificate("second");
  server.process.kill("SIGHUP");
  await eventually(async () => (await commonName(server.web)) === "second");
  execFileSync("bash", ["-c", 'echo broken > "$0"', cert]);
  server.process.kill("SIGHUP");
  await eventually(() => /old certificate stays/.test(server.log()));
  assert.equal(await commonName(server.web), "second");
});
