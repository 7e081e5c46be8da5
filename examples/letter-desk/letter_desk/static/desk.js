// The desk: takes the key, shows the draft while it is written, and says what it cost.

const $ = (id) => document.getElementById(id);
const TAB_KEEPS = ["about", "to", "subject", "body"];
let running = null; // the AbortController of the draft that is being written
let before = null; // the draft before the last change

/** USD from whole nano-dollars, exactly: no float comes near money. */
function usd(nanos) {
  const sign = nanos < 0 ? "−" : "";
  const digits = String(Math.abs(nanos)).padStart(10, "0");
  const cents = digits.slice(-9).replace(/0+$/, "").padEnd(2, "0");
  return `${sign}$${digits.slice(0, -9)}.${cents}`;
}

/** One call to the desk's own server; a refusal is thrown as the trouble that the server sent. */
async function call(method, path, body, signal) {
  let answer;
  try {
    answer = await fetch(path, { method, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw { code: "desk_away", message: "The desk itself does not answer. Is it still running? Your text is still here." };
  }
  if (!answer.ok) {
    throw await answer.json().catch(() => ({ code: "failed", message: "The desk failed. Try again." }));
  }
  return answer;
}

/** Shows a trouble at its field, or above the draft; a refused key asks for another one. */
function show(trouble) {
  const asksForKey = ["no_key", "key_refused"].includes(trouble.code) || trouble.field === "key";
  const place = $(asksForKey ? "key-problem" : trouble.field === "about" ? "about-problem" : "trouble");
  place.textContent = `${trouble.message} `;
  if (trouble.link) {
    const link = Object.assign(document.createElement("a"), { href: trouble.link, textContent: trouble.link_text, target: "_blank", rel: "noopener" });
    place.append(link);
  }
  place.hidden = false;
  if (asksForKey) {
    $("key-form").hidden = false;
    $("key").focus();
  }
}

function clearTroubles() {
  for (const id of ["trouble", "key-problem", "about-problem"]) $(id).hidden = true;
}

// ── the key ─────────────────────────────────────────────────────────────────────────────────────

function showBalance({ remaining_nanos }) {
  $("balance").textContent = `${usd(remaining_nanos)} left`;
}

async function refreshBalance() {
  try {
    showBalance(await (await call("GET", "/key")).json());
  } catch (trouble) {
    show(trouble);
  }
}

async function keepKey(event) {
  event.preventDefault();
  clearTroubles();
  try {
    const kept = await (await call("POST", "/key", { key: $("key").value })).json();
    $("key").value = "";
    $("masked").textContent = kept.masked;
    showBalance(kept);
    $("purse").hidden = false;
    $("key-form").hidden = true;
    $("about").focus();
  } catch (trouble) {
    show({ ...trouble, field: "key" });
  }
}

async function forgetKey() {
  clearTroubles();
  try {
    await call("DELETE", "/key");
    $("purse").hidden = true;
    $("key-form").hidden = false;
    $("key").focus();
  } catch (trouble) {
    show(trouble);
  }
}

// ── the draft ───────────────────────────────────────────────────────────────────────────────────

/** The draft as the model is to see it: what stands on the sheet, edits included. */
const letter = () => `Subject: ${$("subject").value}\n\n${$("body").value}`;

/**
 * Puts a model's text on the sheet, and says whether there is a letter in it: a subject alone is none.
 * A model that gives no subject gets the wish's first words.
 */
function lay(text) {
  const found = /^\s*Subject:[ \t]*(.*)(?:\n|$)/i.exec(text);
  const subject = found ? found[1].trim() : $("about").value.split(/[.!?\n]/)[0].trim().slice(0, 70);
  const body = (found ? text.slice(found[0].length) : text).trimStart();
  put({ subject, body });
  $("body").scrollTop = $("body").scrollHeight;
  return body !== "";
}

function put({ subject, body }) {
  $("subject").value = subject;
  $("body").value = body;
}

/** The events of a draft: one line of JSON each. */
async function* eventsOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

/** Writes a draft, or changes the one on the sheet; the sheet as it was can be had back. */
async function write(change = "") {
  if (running) return;
  clearTroubles();
  const wish = Object.fromEntries(new FormData($("wish")));
  const sheet = { subject: $("subject").value, body: $("body").value };
  setRunning(new AbortController());
  let text = "";
  let hasLetter = false;
  let ending = null;
  try {
    const answer = await call("POST", "/draft", { ...wish, change, draft: change && letter() }, running.signal);
    for await (const event of eventsOf(answer)) {
      if (event.trouble) throw event.trouble;
      ending = event.done ?? ending;
      text += event.text ?? "";
      if (event.text) hasLetter = lay(text);
    }
    if (!ending) throw { code: "broken_off", message: "The draft broke off. Try again." };
    $("status").textContent = said(ending);
    $("body").scrollTop = 0;
    if (hasLetter) $("change").value = "";
    else show({ message: "The model sent no letter this time. Try again, or say it in other words." });
  } catch (trouble) {
    $("status").textContent = "";
    if (trouble.name === "AbortError") $("status").textContent = "Stopped. You pay for what had been written; your usage page has the figure.";
    else show(trouble.message && trouble.code ? trouble : { message: "The connection to the desk broke off. What has come is on the sheet." });
  }
  if (hasLetter) before = change ? sheet : null;
  else put(sheet); // what the user had is not lost to an empty answer
  setRunning(null);
  if (!$("purse").hidden && $("key-form").hidden) await refreshBalance();
}

/** What a draft cost, and why it ended if it did not end by itself. */
function said({ cost_nanos, input_tokens, output_tokens, ended }) {
  const cost = `This draft cost ${usd(cost_nanos)} (${input_tokens} tokens in, ${output_tokens} out).`;
  if (ended === "credit") return `${cost} It is cut short: your credit or limit carried no more.`;
  if (ended === "length") return `${cost} It reached the length's limit and may lack its end.`;
  return cost;
}

function setRunning(controller) {
  running = controller;
  const isOn = running !== null;
  if (isOn) $("status").textContent = "Writing …";
  $("body").readOnly = $("subject").readOnly = isOn;
  $("body").setAttribute("aria-busy", isOn);
  $("stop").hidden = !isOn;
  for (const button of document.querySelectorAll("#write, #change-form button")) button.disabled = isOn;
  $("undo").hidden = before === null;
  refreshSheet();
}

/** What can be done with the sheet depends on whether there is anything on it. */
function refreshSheet() {
  const isEmpty = $("body").value.trim() === "";
  $("change-form").hidden = $("send").hidden = isEmpty;
  const lines = encodeURIComponent($("body").value.replace(/\r?\n/g, "\r\n")); // RFC 6068
  $("mail").href = `mailto:${encodeURIComponent($("to").value)}?subject=${encodeURIComponent($("subject").value)}&body=${lines}`;
  for (const id of TAB_KEEPS) sessionStorage.setItem(id, $(id).value);
}

function undo() {
  put(before);
  before = null;
  $("undo").hidden = true;
  $("status").textContent = "The draft is as it was before the change.";
  refreshSheet();
  $("body").focus();
}

async function copy() {
  const text = $("body").value;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page on plain HTTP may not write to the clipboard, but may copy a selection
    $("body").select();
    document.execCommand("copy");
  }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
}

// ── joining it up ───────────────────────────────────────────────────────────────────────────────

for (const id of TAB_KEEPS) {
  $(id).value = sessionStorage.getItem(id) ?? "";
  $(id).addEventListener("input", refreshSheet);
}
$("key-form").addEventListener("submit", keepKey);
$("forget").addEventListener("click", forgetKey);
$("wish").addEventListener("submit", (event) => { event.preventDefault(); write(); });
$("change-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("change").value.trim()) write($("change").value.trim());
});
for (const chip of document.querySelectorAll("[data-change]")) chip.addEventListener("click", () => write(chip.dataset.change));
$("stop").addEventListener("click", () => running?.abort());
$("undo").addEventListener("click", undo);
$("copy").addEventListener("click", copy);
refreshSheet();
if (!$("purse").hidden) refreshBalance();
