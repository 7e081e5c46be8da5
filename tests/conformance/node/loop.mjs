// What every Node driver shares: jobs come as lines of JSON on stdin, results leave as such.

import readline from "node:readline";

export const QUESTION = "When does the tide come in?";
export const WEATHER = "It is sunny in Bern.";
export const CITY_SCHEMA = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
// A red pixel.
export const RED_PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/** Do jobs until stdin ends; `refusal` reads the client's own errors. */
export async function serve(table, refusal) {
  console.log = console.info = console.warn = console.error;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const job = JSON.parse(line);
    let told;
    try {
      told = await table[job.do](job);
    } catch (error) {
      const found = refusal(error);
      told = found
        ? { refused: { kind: error.constructor.name, ...found } }
        : { crash: error.stack ?? String(error) };
    }
    process.stdout.write(JSON.stringify(told) + "\n");
  }
}
