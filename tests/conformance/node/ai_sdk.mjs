// Drives Vercel's AI SDK with its OpenAI provider; `responses` as an argument is its default mode.

import { createOpenAI } from "@ai-sdk/openai";
import {
  APICallError,
  RetryError,
  embedMany,
  generateText,
  jsonSchema,
  Output,
  stepCountIs,
  streamText,
  tool as makeTool,
} from "ai";
import { CITY_SCHEMA, QUESTION, RED_PNG, serve } from "./loop.mjs";

const isResponses = process.argv.includes("responses");
const provider = (job) => createOpenAI({ baseURL: `${job.base_url}/v1`, apiKey: job.key });
const model = (job) => (isResponses ? provider(job)(job.model) : provider(job).chat(job.model));
const settings = (job) => ({
  model: model(job),
  prompt: QUESTION,
  providerOptions: isResponses ? { openai: { store: false } } : {},
  ...(job.retries === undefined ? {} : { maxRetries: job.retries }),
});
const usageOf = (usage) => [usage.inputTokens, usage.outputTokens];
let called;
const tools = {
  get_weather: makeTool({
    description: "Weather.",
    inputSchema: jsonSchema(CITY_SCHEMA),
    execute: async (input) => {
      called = JSON.stringify(input);
      return `It is sunny in ${input.city}.`;
    },
  }),
};

/** The text of a stream; an error in it is thrown, as an app would do with it. */
async function textOf(stream, isEnough = () => false) {
  let text = "";
  for await (const part of stream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") text += part.text ?? part.delta;
    if (isEnough(text)) break;
  }
  return text;
}

const table = {
  async chat(job) {
    const answer = await generateText({ ...settings(job), maxOutputTokens: 8 });
    return { text: answer.text, usage: usageOf(answer.usage) };
  },
  async stream(job) {
    const answer = streamText({ ...settings(job), maxOutputTokens: 8, onError: () => {} });
    const text = await textOf(answer.fullStream);
    return { text, usage: usageOf(await answer.usage) };
  },
  async hang_up(job) {
    const stop = new AbortController();
    const answer = streamText({ ...settings(job), abortSignal: stop.signal, onError: () => {} });
    const text = await textOf(answer.fullStream, (so_far) => so_far !== "");
    stop.abort();
    return { text };
  },
  async tool(job) {
    const answer = await generateText({ ...settings(job), tools, stopWhen: stepCountIs(2) });
    return { tool: called, text: answer.text };
  },
  async tool_stream(job) {
    const answer = streamText({ ...settings(job), tools, onError: () => {} });
    await textOf(answer.fullStream);
    return { tool: JSON.stringify((await answer.toolCalls)[0].input) };
  },
  async image(job) {
    const content = [
      { type: "text", text: "What is it?" },
      { type: "image", image: RED_PNG, mediaType: "image/png" },
    ];
    const { prompt, ...rest } = settings(job);
    const answer = await generateText({ ...rest, messages: [{ role: "user", content }] });
    return { text: answer.text };
  },
  async schema(job) {
    const output = Output.object({ schema: jsonSchema(CITY_SCHEMA) });
    const answer = await generateText({ ...settings(job), output });
    return { text: answer.output.city };
  },
  async embed(job) {
    const answer = await embedMany({
      model: provider(job).textEmbeddingModel(job.model),
      values: ["tide", "moon"],
    });
    return {
      vectors: answer.embeddings.map((vector) => vector.length),
      usage: [answer.usage.tokens, 0],
    };
  },
};

await serve(table, (error) => {
  const last = RetryError.isInstance(error) ? error.lastError : error;
  if (APICallError.isInstance(last)) {
    return {
      kind: "APICallError",
      status: last.statusCode ?? null,
      code: last.data?.error?.code ?? null,
      message: last.message,
      retry_after: last.responseHeaders?.["retry-after"] ?? null,
    };
  }
  if (last instanceof TypeError && last.message === "terminated") return { message: last.message };
  // An error event in mid-stream comes as what stood in it.
  const inside = last?.error ?? last;
  return inside?.message && inside?.type ? { message: inside.message, code: inside.code } : null;
});
