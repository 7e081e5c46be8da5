// The chat: asks the desk, shows its answer with the page that it is from, or takes a letter.

const $ = (id) => document.getElementById(id);
const KEPT = "help-desk-conversation";
// The conversation lives in this tab, so that it goes on when the visitor opens another page.
const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? '{"id": "", "said": []}');

function make(tag, className, text) {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

/** A line with the first page, which the answer is from, or with the others. */
function cite(label, sources) {
  const cited = make("p", "cited", `${label} `);
  sources.forEach(({ name, link }, index) => {
    if (index) cited.append(" · ");
    cited.append(Object.assign(make("a", "", name), { href: link, target: "_blank", rel: "noopener" }));
  });
  return cited;
}

/** Shows one thing said. Everything is put in as text: an answer can't bring markup along. */
function show({ who, text, sources = [], quote, kind }) {
  const said = make("div", `said ${who}`, text);
  if (sources.length > 0) said.append(cite("From", sources.slice(0, 1)));
  if (kind === "answered") {
    const details = make("details", "", "");
    details.append(make("summary", "", "What the page says"), make("blockquote", "", quote));
    said.append(details);
  }
  if (sources.length > 1) said.append(cite("See also", sources.slice(1)));
  if (kind === "unknown") {
    const button = make("button", "", "Ask a person");
    button.type = "button";
    button.addEventListener("click", () => setLetter(true));
    said.append(button);
  }
  $("log").append(said);
  $("starters").hidden = true;
  $("log").scrollTop = $("log").scrollHeight;
  return said;
}

function say(line) {
  kept.said.push(line);
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
  show(line);
}

/** One call to the desk; a refusal is thrown as what the desk sent. */
async function call(path, body) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body: JSON.stringify({ ...body, conversation: kept.id }) });
  } catch {
    throw { message: "The help desk does not answer. Are you online? Try again in a moment." };
  }
  const data = await answer.json().catch(() => ({ message: "The help desk failed. Try again in a moment." }));
  kept.id = data.conversation ?? kept.id;
  if (!answer.ok) throw data;
  return data;
}

function showTrouble({ message, code, field }) {
  $("trouble").textContent = message;
  $("trouble").hidden = false;
  if (code === "away") setLetter(true);
  if (field) $(field)?.focus();
}

async function ask(question) {
  $("trouble").hidden = true;
  say({ who: "visitor", text: question });
  $("question").value = "";
  const waiting = show({ who: "desk waiting", text: "Looking it up …" });
  setBusy(true);
  try {
    say({ who: "desk", ...(await call("/chat/question", { question })) });
  } catch (trouble) {
    $("question").value = question; // so that it can be sent again
    showTrouble(trouble);
  }
  waiting.remove();
  setBusy(false);
}

function setBusy(isBusy) {
  for (const button of document.querySelectorAll("#ask button, #starters button")) button.disabled = isBusy;
  $("log").setAttribute("aria-busy", isBusy);
}

function setLetter(isOpen) {
  $("letter").hidden = !isOpen;
  $("ask").hidden = $("person").hidden = isOpen;
  if (!isOpen) return $("question").focus();
  const asked = kept.said.filter((line) => line.who === "visitor");
  if (!$("message").value) $("message").value = $("question").value || (asked.at(-1)?.text ?? "");
  $("email").focus();
}

async function sendLetter(event) {
  event.preventDefault();
  $("trouble").hidden = true;
  const [email, message] = [$("email").value, $("message").value];
  try {
    await call("/chat/letter", { email, message });
    say({ who: "desk", text: `We have your letter. A person will answer you at ${email}.` });
    $("message").value = $("question").value = "";
    setLetter(false);
  } catch (trouble) {
    showTrouble(trouble);
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (question && $("log").getAttribute("aria-busy") !== "true") ask(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
for (const button of document.querySelectorAll("#starters button")) button.addEventListener("click", () => ask(button.textContent));
$("person").addEventListener("click", () => { $("trouble").hidden = true; setLetter(true); });
$("back").addEventListener("click", () => { $("trouble").hidden = true; setLetter(false); });
$("letter").addEventListener("submit", sendLetter);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && parent !== self) parent.postMessage("help-desk:close", "*");
});
for (const line of kept.said) show(line);
$("question").focus();
