// An OpenAI-compatible endpoint with known answers: chat completions (whole and streamed) and errors on request.
import { createServer } from "node:http";

export const usage = {
  prompt_tokens: 1200,
  completion_tokens: 80,
  total_tokens: 1280,
  prompt_tokens_details: { cached_tokens: 1024 },
  completion_tokens_details: { reasoning_tokens: 0 },
};
export const model = "gpt-4o-mini-2024-07-18";
export const firstTokenMs = 120;

let serial = 0;

function whole(id) {
  return {
    id, object: "chat.completion", created: 1764000000, model, usage,
    choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: "The lamp on the panel is lit." } }],
  };
}

async function stream(response, id, includeUsage) {
  const chunk = (delta, finish_reason = null, more = {}) =>
    response.write(`data: ${JSON.stringify({ id, object: "chat.completion.chunk", created: 1764000000, model, choices: [{ index: 0, delta, finish_reason }], ...more })}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream" });
  await new Promise((r) => setTimeout(r, firstTokenMs));
  chunk({ role: "assistant", content: "" });
  for (const word of ["The ", "lamp ", "on ", "the ", "panel ", "is ", "lit."]) {
    chunk({ content: word });
    await new Promise((r) => setTimeout(r, 15));
  }
  chunk({}, "stop");
  if (includeUsage)
    response.write(`data: ${JSON.stringify({ id, object: "chat.completion.chunk", created: 1764000000, model, choices: [], usage })}\n\n`);
  response.end("data: [DONE]\n\n");
}

export async function startOpenAi() {
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (c) => (text += c));
    request.on("end", async () => {
      const body = JSON.parse(text || "{}");
      const id = `chatcmpl-e2e-${process.pid}-${++serial}`;
      if (body.messages?.[0]?.content?.includes("refuse")) {
        response.writeHead(429, { "content-type": "application/json" });
        response.end(JSON.stringify({ error: { message: "quota", type: "insufficient_quota", code: "rate_limit_exceeded" } }));
      } else if (body.stream) {
        await stream(response, id, body.stream_options?.include_usage);
      } else {
        response.writeHead(200, { "content-type": "application/json" });
        response.end(JSON.stringify(whole(id)));
      }
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/v1`, close: () => server.close() };
}
