// What programs do with OpenAI's JavaScript client, under the same names and in the same order as idioms.py.
import { pathToFileURL } from "node:url";

const [url, folder] = process.argv.slice(2);
const { default: OpenAI } = await import(pathToFileURL(`${folder}/node_modules/openai/index.mjs`));
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0, timeout: 60000 });
const MODEL = "tiny";
const ASKED = [{ role: "user", content: "Who keeps the mill?" }];
const PARAMETERS = { type: "object", properties: { hour: { type: "integer", minimum: 0, maximum: 23 } }, required: ["hour"], additionalProperties: false };
const TOOL = { type: "function", function: { name: "clock", parameters: PARAMETERS } };
const SCHEMA = { type: "json_schema", json_schema: { name: "time", schema: PARAMETERS, strict: true } };
const PNG = "data:image/png;base64,iVBORw0KGgo=";
const chat = (how = {}) => client.chat.completions.create({ model: MODEL, messages: ASKED, max_tokens: 8, seed: 1, ...how });
const text = (how = {}) => client.completions.create({ model: MODEL, prompt: "The mill", max_tokens: 5, seed: 1, ...how });
const respond = (how = {}) => client.responses.create({ model: MODEL, input: "Who keeps the mill?", max_output_tokens: 8, temperature: 0, ...how });
const embedded = (how = {}) => client.embeddings.create({ model: MODEL, input: [20, 21], ...how });
const said = async (how) => (await chat(how)).choices[0].message.content;
const all = async (stream) => { const chunks = []; for await (const chunk of await stream) chunks.push(chunk); return chunks; };
const forced = async (how = {}) => (await chat({ tools: [TOOL], tool_choice: { type: "function", function: { name: "clock" } }, max_tokens: 100, ...how })).choices[0];
const refused = async (kind, ask) => { try { await ask(); } catch (error) { return error instanceof kind; } return false; };

const idioms = [
  async () => (await chat()).choices[0].message.role === "assistant",
  async () => (await chat({ messages: [...ASKED, (await chat()).choices[0].message, ...ASKED] })).choices,
  async () => (await chat({ messages: [...ASKED, { ...(await chat()).choices[0].message, audio: null, function_call: null, tool_calls: null }, ...ASKED] })).choices,
  async () => (await all(chat({ stream: true }))).map((chunk) => chunk.choices[0].delta.content ?? "").join("") === (await said()),
  async () => (await all(chat({ stream: true, stream_options: { include_usage: true } }))).at(-1).usage.total_tokens,
  async () => { (await chat({ stream: true })).controller.abort(); return true; },
  async () => (await chat({ messages: [{ role: "developer", content: "Be brief." }, ...ASKED] })).choices,
  async () => (await chat({ messages: [{ role: "user", content: [{ type: "text", text: "Hi" }] }] })).choices,
  async () => (await chat({ messages: [{ ...ASKED[0], name: "ann" }] })).choices,
  async () => (await said({ temperature: 0 })) === (await said({ temperature: 0, seed: 2 })),
  async () => (await said({ seed: 7 })) === (await said({ seed: 7 })),
  async () => (await chat({ n: 3 })).choices.length === 3,
  async () => (await chat({ stop: ["\n", "e"] })).choices[0].finish_reason,
  async () => (await chat({ max_tokens: null, max_completion_tokens: 3 })).usage.completion_tokens <= 3,
  async () => (await chat({ frequency_penalty: 0.5, presence_penalty: -0.5 })).choices,
  async () => (await text({ logit_bias: { 40: 100 }, logprobs: 0 })).choices[0].logprobs.token_logprobs,
  async () => (await chat({ logprobs: true, top_logprobs: 2 })).choices[0].logprobs.content[0].top_logprobs.length === 2,
  async () => (await chat({ store: false, metadata: { a: "b" }, user: "ann", service_tier: "auto" })).choices,
  async () => (await chat({ wombat: 1 }).asResponse()).headers.get("x-accord-ignored") === "wombat",
  async () => (await chat())._request_id.startsWith("req_"),
  async () => (await chat({ tools: [TOOL] })).choices[0].finish_reason,
  async () => !(await chat({ tools: [TOOL], tool_choice: "none" })).choices[0].message.tool_calls,
  async () => (await forced({ tool_choice: "required", parallel_tool_calls: false })).finish_reason === "tool_calls",
  async () => (await forced()).message.tool_calls[0].function.name === "clock",
  async () => {
    const { message } = await forced();
    const back = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "9" };
    return (await chat({ messages: [...ASKED, message, back], tools: [TOOL] })).choices;
  },
  async () => {
    const chunks = await all(chat({ tools: [TOOL], tool_choice: "required", parallel_tool_calls: false, max_tokens: 100, stream: true }));
    return "hour" in JSON.parse(chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []).map((call) => call.function.arguments).join(""));
  },
  async () => (await said({ response_format: { type: "json_object" } })).startsWith("{"),
  async () => "hour" in JSON.parse(await said({ response_format: SCHEMA, max_tokens: 100 })),
  async () => (await text()).choices[0].text !== undefined,
  async () => (await text({ prompt: ["The mill", "A river"] })).choices.length === 2,
  async () => (await text({ prompt: [20, 21, 22] })).usage.prompt_tokens === 3,
  async () => (await all(text({ stream: true }))).length,
  async () => (await text({ echo: true })).choices[0].text.startsWith("The mill"),
  async () => (await text({ prompt: [[20, 21, 22]], echo: true, logprobs: 1, max_tokens: 0 })).choices[0].logprobs.token_logprobs[0] === null,
  async () => (await all(client.models.list())).some((model) => model.id === MODEL),
  async () => (await client.models.retrieve(MODEL)).id === MODEL,
  async () => refused(OpenAI.NotFoundError, () => chat({ model: "none" })),
  async () => refused(OpenAI.BadRequestError, () => chat({ max_tokens: 9999 })),
  async () => refused(OpenAI.BadRequestError, () => chat({ response_format: { type: "json_schema", json_schema: { name: "x", schema: { enum: [] } } } })),
  async () => (await chat({ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: PNG } }] }] })).choices,
  async () => (await chat({ reasoning_effort: "high" })).choices,
  async () => (await respond()).output_text !== undefined,
  async () => (await respond({ instructions: "Be brief." })).usage.input_tokens > (await respond()).usage.input_tokens,
  async () => {
    const events = await all(respond({ stream: true }));
    const parts = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
    return parts === (await respond()).output_text && events.at(-1).response.output[0].content[0].text === parts;
  },
  async () => (await respond({ input: [...ASKED, ...(await respond()).output, ...ASKED] })).output,
  async () => {
    const how = { tools: [{ ...TOOL.function, type: "function" }], parallel_tool_calls: false, max_output_tokens: 100 };
    const [call] = (await respond({ tool_choice: "required", ...how })).output;
    const back = { type: "function_call_output", call_id: call.call_id, output: "9" };
    return "hour" in JSON.parse(call.arguments) && (await respond({ input: [...ASKED, call, back], ...how })).output;
  },
  async () => "hour" in JSON.parse((await respond({ text: { format: { type: "json_schema", ...SCHEMA.json_schema } }, max_output_tokens: 100 })).output_text),
  async () => (await respond({ previous_response_id: "resp_1" })).output,
  async () => (await embedded({ input: "Hi" })).data[0].embedding.length > 8,
  async () => (await embedded({ input: ["Hi", "A mill"] })).data.length === 2,
  async () => {
    const [plain, packed] = [await embedded({ encoding_format: "float" }), await embedded()].map((answer) => answer.data[0].embedding);
    return plain.length === packed.length && plain.every((value, place) => Math.abs(value - packed[place]) < 1e-6);
  },
  async () => (await embedded({ dimensions: 4 })).data,
];
const outcomes = [];
for (const idiom of idioms) {
  try {
    outcomes.push((await idiom()) ? "works" : "fails");
  } catch (error) {
    outcomes.push(error instanceof OpenAI.APIError && error.status ? `refused (${error.status})` : `fails: ${error.name}`);
  }
}
console.log(JSON.stringify(outcomes));
