// Adds a slider to each limit, says at once what the amount that is typed means, and offers the
// browser's own list of time zones, which would be half of the page's weight.

const STEPS = ["0"];
for (let power = -2; power <= 3; power += 1) {
  for (const digit of [1, 2, 5]) STEPS.push((digit * 10 ** power).toFixed(2));
}

/** The step that lies nearest below an amount; beyond the last there is no limit. */
function stepOf(text) {
  if (text === "") return STEPS.length;
  const at = STEPS.findIndex((step) => Number(step) > Number(text));
  return at === -1 ? STEPS.length - 1 : Math.max(0, at - 1);
}

/** How many calls an amount pays for, to two digits, as the server says it. */
function callsFor(text, worth) {
  const calls = Math.floor((Number(text) * 1e9 * Number(worth.calls)) / Number(worth.charge));
  const unit = 10 ** Math.max(0, String(calls).length - 2);
  return Math.floor(calls / unit) * unit;
}

function say(text, about, worth) {
  if (text === "" || !Number.isFinite(Number(text)) || Number(text) < 0) return "";
  if (Number(text) === 0) return "blocks every call that costs something";
  const calls = callsFor(text, worth);
  return calls ? `about ${calls.toLocaleString("en")} ${about}` : `less than one of the ${about}`;
}

for (const zone of ["UTC", ...Intl.supportedValuesOf("timeZone")]) {
  document.getElementById("zones").append(new Option("", zone));
}

const worth = document.querySelector("[data-charge]")?.dataset;
for (const slider of document.querySelectorAll("input[data-for]")) {
  const field = document.getElementById(slider.dataset.for);
  const said = document.getElementById(`${slider.dataset.for}-means`);
  const update = () => {
    if (worth) said.textContent = say(field.value.trim().replace(/^\$/, ""), worth.about, worth);
  };
  slider.max = String(STEPS.length);
  slider.value = String(stepOf(field.value));
  slider.hidden = false;
  slider.addEventListener("input", () => {
    field.value = STEPS[Number(slider.value)] ?? "";
    slider.setAttribute("aria-valuetext", field.value ? `$${field.value}` : "no limit");
    update();
  });
  field.addEventListener("input", () => {
    slider.value = String(stepOf(field.value.trim()));
    update();
  });
}
