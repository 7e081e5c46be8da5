// Improves pages that work without it: dialogs that open in place, a Copy button, a menu that closes.

/** A form marked data-dialog opens its dialog instead of going to a page of its own. */
function openDialogsInPlace() {
  for (const form of document.querySelectorAll("form[data-dialog]")) {
    const dialog = document.getElementById(form.dataset.dialog);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.showModal();
    });
  }
  for (const closer of document.querySelectorAll("[data-close]")) {
    closer.hidden = false;
    closer.addEventListener("click", () => closer.closest("dialog").close());
  }
}

/** A key that was just made stays in sight until Done is pressed: Escape must not lose it. */
function keepInSight() {
  const dialog = document.querySelector("dialog[data-keep]");
  if (!dialog) return;
  const show = () => {
    dialog.close();
    dialog.showModal();
    dialog.querySelector("[data-copy]").focus();
  };
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Escape") event.preventDefault();
  });
  show();
}

/** Buttons that copy the text of the element that they name, and say so. */
function copyOnClick(part = document) {
  for (const button of part.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    const label = button.querySelector("[data-label]") ?? button;
    const said = label.textContent;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      label.textContent = (await copy(source)) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { label.textContent = said; }, 2000);
    });
  }
}

/** Copies by the clipboard, or by a selection where a page may not write to it (plain HTTP). */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}

/** What is typed as a password can be looked at, and is hidden again before it is sent. */
function showOnClick() {
  for (const button of document.querySelectorAll("[data-show]")) {
    const input = document.getElementById(button.dataset.show);
    const show = (isShown) => {
      input.type = isShown ? "text" : "password";
      button.setAttribute("aria-pressed", String(isShown));
      button.textContent = isShown ? "Hide" : "Show";
    };
    button.hidden = false;
    button.addEventListener("click", () => show(input.type === "password"));
    input.form.addEventListener("submit", () => show(false));
  }
}

/** A form that was sent is not sent again by an impatient second click; unless it fetches a file. */
function sendOnce() {
  for (const form of document.querySelectorAll("form[method=post]:not([data-again])")) {
    form.addEventListener("submit", (event) => {
      if (event.submitter?.hasAttribute("data-file")) return; // the page stays, and the form with it
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  addEventListener("pageshow", () => {
    for (const form of document.forms) delete form.dataset.sent;
  });
}

copyOnClick();
addEventListener("drawn", (event) => copyOnClick(event.target)); // a part that a page's own module has put in
showOnClick();
openDialogsInPlace();
keepInSight(); // after copyOnClick: what is hidden takes no focus
sendOnce();
