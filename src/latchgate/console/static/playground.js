// The playground, as it is written: asks the management API, shows the answer as it comes, stops it, keeps a history.
import { events } from "./playground_stream.js";
import { History } from "./playground_history.js";

const $ = (id) => document.getElementById(id);
const form = $("playground");
if (form) start();

function start() {
  const history = new History(`latchgate.playground.${form.dataset.account}`);
  let turns = JSON.parse($("conversation").value);
  let id = crypto.randomUUID?.() ?? String(Math.random());
  let running = null;

  showPrice();
  if (matchMedia("(min-width: 1061px)").matches) $("settings").open = true;
  listHistory();
  $("prompt").focus({ preventScroll: true });
  $("turns").lastElementChild?.scrollIntoView({ block: "nearest" });
  $("model").addEventListener("change", showPrice);
  $("stop").addEventListener("click", () => running?.abort());
  $("new").addEventListener("click", (event) => { event.preventDefault(); running?.abort(); open({ turns: [] }); });
  $("forget").addEventListener("click", () => { history.clear(); listHistory(); });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit($("send"));
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter === $("code")) showCode();
    else if (!running) send();
  });

  // ── a question and its answer ─────────────────────────────────────────────────────────────────
  async function send() {
    const prompt = $("prompt").value;
    complain(null);
    if (!prompt.trim()) return complain({ message: "Write something to send." }), $("prompt").focus();
    const asked = [...turns, { role: "user", content: prompt }];
    running = new AbortController();
    toggle(true);
    draw(asked.at(-1));
    const answer = { role: "assistant", content: "" };
    const drawn = draw(answer);
    drawn.item.classList.add("writing");
    $("prompt").value = "";
    const heard = await listen(asked, answer, drawn.said, running.signal);
    drawn.item.classList.remove("writing");
    running = null;
    toggle(false);
    if (heard.begun) {
      turns = [...asked, answer];
      keep();
      await showCost(heard, answer, drawn);
      keep();
    } else { // nothing has come of it: as it was before
      drawn.item.previousElementSibling.remove();
      drawn.item.remove();
      if (!$("prompt").value) $("prompt").value = prompt;
    }
    $("running").textContent = heard.error ? "" : heard.begun && answer.cost ? `Written: ${answer.cost.text}` : "Stopped.";
    complain(heard.error);
    $("nothing").hidden = turns.length > 0;
    $("prompt").focus({ preventScroll: true });
  }

  async function listen(asked, answer, said, signal) {
    const heard = { begun: false, callId: null, usage: null, ending: "", isWhole: false, error: null };
    let pieces = 0;
    try {
      const response = await fetch("/api/playground", {
        method: "POST", signal, headers: { "content-type": "application/json" }, body: JSON.stringify(question(asked)),
      });
      heard.callId = response.headers.get("x-request-id");
      if (!response.ok) return { ...heard, error: (await response.json()).error };
      for await (const event of events(response.body)) {
        if (event === "[DONE]") { heard.isWhole = true; continue; }
        if (event.error) heard.error = event.error;
        heard.usage = event.usage ?? heard.usage;
        heard.ending = event.choices?.[0]?.finish_reason ?? heard.ending;
        const text = event.choices?.[0]?.delta?.content;
        if (event.choices?.length) heard.begun = true;
        if (typeof text !== "string" || !text) continue;
        pieces += 1;
        answer.content += text;
        said.append(text);
        $("running").textContent = estimate(asked, pieces);
        follow(said);
      }
      if (!heard.isWhole && !heard.error) heard.error = { message: "The answer broke off. What had come is charged." };
    } catch (error) {
      if (error.name !== "AbortError") heard.error = { message: "The server cannot be reached. Check your connection, and try again." };
    }
    return heard;
  }

  function question(asked) {
    const number = (name) => ($(name).value.trim() === "" ? null : Number($(name).value));
    return {
      model: $("model").value, system: $("system").value, turns: asked.map(({ role, content }) => ({ role, content })),
      temperature: number("temperature"), top_p: number("top_p"), max_tokens: number("max_tokens"),
    };
  }

  // ── what it costs ─────────────────────────────────────────────────────────────────────────────
  /** While it runs: by the rule by which the gateway counts on its own, four bytes in and a piece out for a token. */
  function estimate(asked, pieces) {
    const { input, output } = $("model").selectedOptions[0].dataset;
    const bytes = new TextEncoder().encode(JSON.stringify(question(asked).turns) + $("system").value).length;
    const tokens = Math.ceil(bytes / 4);
    return `Writing. About ${tokens} tokens in, ${pieces} out so far: ${usd(Math.round((tokens * input + pieces * output) / 1000))}`;
  }

  /** In the end: what was charged, from the answer's last event or, where it was stopped, from its receipt. */
  async function showCost(heard, answer, { item }) {
    const stated = heard.usage
      ? { in: heard.usage.prompt_tokens, out: heard.usage.completion_tokens, nanos: heard.usage.cost_nanos }
      : await receipt(heard.callId);
    if (stated) answer.cost = { text: `${stated.in.toLocaleString("en")} tokens in, ${stated.out.toLocaleString("en")} out: ${usd(stated.nanos)}`, call: heard.callId };
    if (heard.ending === "length") answer.early = true;
    drawCost(item, answer);
  }

  async function receipt(callId) {
    for (let tries = 0; callId && tries < 20; tries += 1) {
      const response = await fetch(`/api/usage/${callId}`).catch(() => null);
      if (response?.ok) {
        const call = await response.json();
        return { in: call.input_tokens, out: call.output_tokens, nanos: call.charge_nanos };
      }
      await new Promise((done) => { setTimeout(done, 100 + 50 * tries); });
    }
    return null;
  }

  function usd(nanos) {
    const digits = String(nanos).padStart(10, "0");
    return `$${digits.slice(0, -9)}.${digits.slice(-9).replace(/0+$/, "").padEnd(2, "0")}`;
  }

  function showPrice() {
    const { input, output, context, most } = $("model").selectedOptions[0].dataset;
    const price = (picos) => `$${(picos / 1e6).toFixed(6).replace(/0{1,4}$/, "")}`;
    const count = (tokens) => Number(tokens).toLocaleString("en");
    $("model-price").textContent = `${price(input)} in and ${price(output)} out for a million tokens. Reads ${count(context)} tokens, writes up to ${count(most)}.`;
  }

  // ── drawing ───────────────────────────────────────────────────────────────────────────────────
  function draw(turn) {
    const item = $("turn-drawn").content.firstElementChild.cloneNode(true);
    item.className = `turn ${turn.role}`;
    item.querySelector(".who-says").textContent = turn.role === "user" ? "You" : "Model";
    const said = item.querySelector(".said");
    said.textContent = turn.content;
    $("turns").append(item);
    $("nothing").hidden = true;
    item.scrollIntoView({ block: "nearest" });
    drawCost(item, turn);
    return { item, said };
  }

  function drawCost(item, { cost, early }) {
    const add = (...parts) => {
      const line = document.createElement("p");
      line.className = "cost faint small";
      line.append(...parts);
      item.append(line);
    };
    if (cost) {
      const link = Object.assign(document.createElement("a"), { href: `/usage/${cost.call}`, textContent: "Receipt" });
      add(`${cost.text} · `, link);
    }
    if (early) add("It ended early: at the most tokens that were asked for, or that your limits can carry.");
  }

  function follow(said) {
    if (said.getBoundingClientRect().bottom - innerHeight < 80) said.scrollIntoView({ block: "end" });
  }

  function complain(error) {
    $("problem").replaceChildren();
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    if (!error) return;
    $(error.param ?? "")?.setAttribute("aria-invalid", "true");
    const note = $("problem-drawn").content.cloneNode(true);
    const said = note.querySelector("span");
    said.textContent = error.message;
    const remedy = document.querySelector(`template[data-remedy="${CSS.escape(error.code ?? "")}"]`);
    if (remedy) said.after(" ", remedy.content.cloneNode(true));
    $("problem").append(note);
  }

  function toggle(isRunning) {
    $("send").disabled = isRunning;
    $("stop").hidden = !isRunning;
    if (isRunning) { $("running").textContent = "Asked. Waiting for the first word."; $("stop").focus({ preventScroll: true }); }
  }

  // ── code and history ──────────────────────────────────────────────────────────────────────────
  async function showCode() {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch("/playground/code", { method: "POST", body }).catch(() => null);
    const samples = response?.ok && new DOMParser().parseFromString(await response.text(), "text/html").getElementById("samples");
    if (!samples) return complain({ message: "The code cannot be shown just now. Check the settings, and that you are logged in." });
    $("code-shown").replaceChildren(document.adoptNode(samples));
    $("code-dialog").showModal();
    samples.dispatchEvent(new CustomEvent("drawn", { bubbles: true }));
  }

  function open(conversation) {
    ({ turns } = conversation);
    id = conversation.id ?? crypto.randomUUID?.() ?? String(Math.random());
    $("turns").replaceChildren();
    turns.forEach(draw);
    $("nothing").hidden = turns.length > 0;
    $("running").textContent = "";
    complain(null);
    $("conversation").value = JSON.stringify(turns.map(({ role, content }) => ({ role, content })));
    $("prompt").focus();
  }

  function keep() {
    $("conversation").value = JSON.stringify(turns.map(({ role, content }) => ({ role, content })));
    history.keep({ id, turns, at: Date.now() });
    listHistory();
  }

  function listHistory() {
    const kept = history.list();
    $("history").hidden = kept.length === 0;
    $("past").replaceChildren(...kept.map((conversation) => {
      const item = document.createElement("li");
      const button = Object.assign(document.createElement("button"), { type: "button", className: "btn quiet" });
      const title = Object.assign(document.createElement("span"), { textContent: conversation.turns[0].content.slice(0, 80) });
      button.append(title);
      button.addEventListener("click", () => { if (!running) open(conversation); });
      item.append(button);
      return item;
    }));
  }
}
