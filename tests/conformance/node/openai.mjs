// Drives the official Node SDK; `responses` as an argument is its newer half.

import OpenAI from "openai";
import { CITY_SCHEMA, QUESTION, RED_PNG, WEATHER, serve } from "./loop.mjs";

const isResponses = process.argv.includes("responses");
const ASKED = [{ role: "user", content: QUESTION }];
const TOOL = { name: "get_weather", description: "Weather.", parameters: CITY_SCHEMA };
const CHAT_TOOL = { type: "function", function: TOOL };
const RESPONSES_TOOL = { type: "function", strict: true, ...TOOL };

const client = (job) =>
  new OpenAI({
    baseURL: `${job.base_url}/v1`,
    apiKey: job.key,
    ...(job.retries === undefined ? {} : { maxRetries: job.retries }),
  });
const chatUsage = (usage) => [usage.prompt_tokens, usage.completion_tokens];
const responsesUsage = (usage) => [usage.input_tokens, usage.output_tokens];

async function models(job) {
  const listed = [];
  for await (const model of client(job).models.list()) listed.push(model.id);
  await client(job).models.retrieve(listed[0]);
  return { models: listed };
}

async function embed(job) {
  const answer = await client(job).embeddings.create({ model: job.model, input: ["tide", "moon"] });
  return {
    vectors: answer.data.map((item) => item.embedding.length),
    usage: [answer.usage.prompt_tokens, 0],
  };
}

const ask = (job, more) => client(job).chat.completions.create({ model: job.model, messages: ASKED, ...more });

const chat = {
  models,
  embed,
  async chat(job) {
    const answer = await ask(job, { max_completion_tokens: 8 });
    return { text: answer.choices[0].message.content, usage: chatUsage(answer.usage) };
  },
  async stream(job) {
    let text = "";
    let usage;
    const options = { stream: true, stream_options: { include_usage: true }, max_tokens: 8 };
    for await (const chunk of await ask(job, options)) {
      usage = chunk.usage ?? usage;
      for (const choice of chunk.choices) text += choice.delta.content ?? "";
    }
    return { text, usage: chatUsage(usage) };
  },
  async hang_up(job) {
    for await (const chunk of await ask(job, { stream: true })) {
      const text = chunk.choices[0]?.delta.content;
      if (text) return { text }; // leaving the loop aborts the request
    }
    throw new Error("the stream ended");
  },
  async tool(job) {
    const first = await ask(job, { tools: [CHAT_TOOL] });
    const message = first.choices[0].message;
    const call = message.tool_calls[0];
    const result = { role: "tool", tool_call_id: call.id, content: WEATHER };
    const second = await ask(job, { messages: [...ASKED, message, result], tools: [CHAT_TOOL] });
    return { tool: call.function.arguments, text: second.choices[0].message.content };
  },
  async tool_stream(job) {
    const body = { model: job.model, messages: ASKED, tools: [CHAT_TOOL] };
    const message = await client(job).chat.completions.stream(body).finalMessage();
    return { tool: message.tool_calls[0].function.arguments };
  },
  async image(job) {
    const content = [
      { type: "text", text: "What is it?" },
      { type: "image_url", image_url: { url: `data:image/png;base64,${RED_PNG}` } },
    ];
    const answer = await ask(job, { messages: [{ role: "user", content }] });
    return { text: answer.choices[0].message.content };
  },
  async schema(job) {
    const json_schema = { name: "place", schema: CITY_SCHEMA, strict: true };
    const answer = await client(job).chat.completions.parse({
      model: job.model,
      messages: ASKED,
      response_format: { type: "json_schema", json_schema },
    });
    return { text: JSON.parse(answer.choices[0].message.content).city };
  },
};

const respond = (job, more) =>
  client(job).responses.create({ model: job.model, input: QUESTION, store: false, ...more });

const responses = {
  models,
  async chat(job) {
    const answer = await respond(job, { max_output_tokens: 8 });
    return { text: answer.output_text, usage: responsesUsage(answer.usage) };
  },
  async stream(job) {
    let text = "";
    let last;
    for await (last of await respond(job, { stream: true, max_output_tokens: 8 })) {
      if (last.type === "response.output_text.delta") text += last.delta;
    }
    return { text, usage: responsesUsage(last.response.usage) };
  },
  async hang_up(job) {
    for await (const event of await respond(job, { stream: true })) {
      if (event.type === "response.output_text.delta") return { text: event.delta };
    }
    throw new Error("the stream ended");
  },
  async tool(job) {
    const first = await respond(job, { input: ASKED, tools: [RESPONSES_TOOL] });
    const call = first.output.find((item) => item.type === "function_call");
    const result = { type: "function_call_output", call_id: call.call_id, output: WEATHER };
    const input = [...ASKED, ...first.output, result];
    const second = await respond(job, { input, tools: [RESPONSES_TOOL] });
    return { tool: call.arguments, text: second.output_text };
  },
  async tool_stream(job) {
    const body = { model: job.model, input: QUESTION, tools: [RESPONSES_TOOL], store: false };
    const whole = await client(job).responses.stream(body).finalResponse();
    return { tool: whole.output.find((item) => item.type === "function_call").arguments };
  },
  async image(job) {
    const content = [
      { type: "input_text", text: "What is it?" },
      { type: "input_image", image_url: `data:image/png;base64,${RED_PNG}`, detail: "low" },
    ];
    const answer = await respond(job, { input: [{ role: "user", content }] });
    return { text: answer.output_text };
  },
  async schema(job) {
    const format = { type: "json_schema", name: "place", schema: CITY_SCHEMA, strict: true };
    const answer = await respond(job, { text: { format } });
    return { text: JSON.parse(answer.output_text).city };
  },
};

await serve(isResponses ? responses : chat, (error) => {
  if (error instanceof OpenAI.APIError) {
    return {
      status: error.status ?? null,
      code: error.code ?? null,
      message: error.message,
      retry_after: error.headers?.get("retry-after") ?? null,
    };
  }
  // What Node's fetch says when an answer breaks off.
  const isCut = error instanceof TypeError && error.message === "terminated";
  return isCut ? { message: error.message } : null;
});
