// One service as its developers would write it: an OpenAI client under one of three public instrumentations, or with spans of its own
// ("manual", after the semantic conventions), exporting OTLP.
// Arguments: instrumentation, exporter, OTLP endpoint, OpenAI base URL, service name. Prints the trace ids.
const [instrumentationName, exporterName, endpoint, baseURL, serviceName] = process.argv.slice(2);

const { trace, SpanKind } = require("@opentelemetry/api");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { registerInstrumentations } = require("@opentelemetry/instrumentation");
const { NodeTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-node");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");

const exporters = {
  "http/protobuf": () => new (require("@opentelemetry/exporter-trace-otlp-proto").OTLPTraceExporter)({ url: `${endpoint}/v1/traces`, compression: "gzip" }),
  "http/json": () => new (require("@opentelemetry/exporter-trace-otlp-http").OTLPTraceExporter)({ url: `${endpoint}/v1/traces` }),
  grpc: () => new (require("@opentelemetry/exporter-trace-otlp-grpc").OTLPTraceExporter)({ url: endpoint }),
};
const instrumentations = {
  opentelemetry: () => new (require("@opentelemetry/instrumentation-openai").OpenAIInstrumentation)({ captureMessageContent: true }),
  openllmetry: () => new (require("@traceloop/instrumentation-openai").OpenAIInstrumentation)({ traceContent: true }),
  manual: () => null,
  openinference: () => new (require("@arizeai/openinference-instrumentation-openai").OpenAIInstrumentation)(),
};

const resource = resourceFromAttributes({ "service.name": serviceName, "service.version": "1.2.3", "deployment.environment.name": "test" });
const exporter = exporters[exporterName]();
const provider = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(exporter)] });
provider.register();
const http = exporterName !== "grpc";
const meters = http && new MeterProvider({
  resource,
  readers: [new PeriodicExportingMetricReader({ exportIntervalMillis: 60000, exporter: new (require("@opentelemetry/exporter-metrics-otlp-proto").OTLPMetricExporter)({ url: `${endpoint}/v1/metrics` }) })],
});
const loggers = http && new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: new (require("@opentelemetry/exporter-logs-otlp-proto").OTLPLogExporter)({ url: `${endpoint}/v1/logs` }) })] });
const instrumentation = instrumentations[instrumentationName]();
registerInstrumentations({ instrumentations: instrumentation ? [instrumentation] : [], tracerProvider: provider, ...(meters ? { meterProvider: meters } : {}), ...(loggers ? { loggerProvider: loggers } : {}) });

const imported = require("openai");
if (instrumentationName === "openinference" && instrumentation.manuallyInstrument && !imported.openInferencePatched) instrumentation.manuallyInstrument(imported.OpenAI ?? imported.default);
const { OpenAI } = imported;

async function main() {
  const tracer = trace.getTracer("e2e");
  const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
  const traces = {};
  const request = (name, run) =>
    tracer.startActiveSpan(`POST /${name}`, { kind: SpanKind.SERVER, attributes: { "http.route": `/${name}`, "http.request.method": "POST" } }, async (span) => {
      traces[name] = span.spanContext().traceId;
      try {
        await run();
      } catch (e) {
        if (name !== "refused") throw e;
      } finally {
        span.end();
      }
    });
  // What the conventions ask of an instrumented streaming call, done by hand.
  const manualCall = async (create) => {
    const attributes = { "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.request.stream": true };
    await tracer.startActiveSpan("chat gpt-4o-mini", { kind: SpanKind.CLIENT, attributes }, async (span) => {
      const begin = performance.now();
      try {
        let seen = false;
        for await (const chunk of await create()) {
          if (!seen && chunk.choices[0]?.delta?.content) {
            seen = true;
            span.setAttribute("gen_ai.response.time_to_first_chunk", (performance.now() - begin) / 1000);
          }
          if (chunk.choices[0]?.finish_reason) span.setAttribute("gen_ai.response.finish_reasons", [chunk.choices[0].finish_reason]);
          if (chunk.usage)
            span.setAttributes({ "gen_ai.response.id": chunk.id, "gen_ai.response.model": chunk.model, "gen_ai.usage.input_tokens": chunk.usage.prompt_tokens, "gen_ai.usage.output_tokens": chunk.usage.completion_tokens, "gen_ai.usage.cache_read.input_tokens": chunk.usage.prompt_tokens_details.cached_tokens });
        }
      } finally {
        span.end();
      }
    });
  };
  const messages = [{ role: "user", content: "Is the lamp lit?" }];
  if (instrumentationName === "manual")
    return request("streamed", () => manualCall(() => client.chat.completions.create({ model: "gpt-4o-mini", messages, stream: true, stream_options: { include_usage: true } }))).then(() => finish(traces));
  await request("whole", () => client.chat.completions.create({ model: "gpt-4o-mini", messages }));
  await request("streamed", async () => {
    const stream = await client.chat.completions.create({ model: "gpt-4o-mini", messages, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) void chunk;
  });
  await request("refused", () => client.chat.completions.create({ model: "gpt-4o-mini", messages: [{ role: "user", content: "refuse" }] }));
  if (meters) meters.getMeter("e2e").createCounter("e2e.requests", { unit: "{request}" }).add(3, { kind: "test" });
  if (loggers) loggers.getLogger("e2e").emit({ severityNumber: 9, severityText: "INFO", body: "three requests sent", attributes: { count: 3 } });
  await finish(traces);
}

async function finish(traces) {
  await provider.forceFlush();
  await provider.shutdown();
  if (meters) await meters.shutdown();
  if (loggers) await loggers.shutdown();
  console.log(JSON.stringify(traces));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
