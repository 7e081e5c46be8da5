// The one script that a site includes: a button in the corner, and the chat in a frame of its own.
//
// Neither side can read the other: the frame keeps the site's scripts and styles out of the chat,
// and the shadow root keeps them off the button. Nothing here needs the site to loosen its content
// policy by more than naming the desk in script-src and frame-src.
(() => {
  const origin = new URL(document.currentScript.src).origin;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { color-scheme: light dark; }
    button { position: fixed; right: 20px; bottom: 20px; z-index: 2147483000; min-height: 48px; padding: 0 20px; border: 0; border-radius: 24px; font: 600 15px system-ui, sans-serif; color: #fff; background: #2d5d3a; box-shadow: 0 4px 18px rgb(0 0 0 / .28); cursor: pointer; }
    button:hover { background: #234a2e; }
    button:focus-visible { outline: 3px solid #fff; outline-offset: -6px; }
    iframe { position: fixed; right: 20px; bottom: 80px; z-index: 2147483000; width: 400px; height: min(620px, calc(100vh - 100px)); border: 1px solid rgb(128 128 128 / .35); border-radius: 14px; box-shadow: 0 12px 48px rgb(0 0 0 / .3); background: #fff; }
    iframe[hidden] { display: none; }
    @media (prefers-color-scheme: dark) { iframe { background: #161a17; } }
    @media (max-width: 480px) { iframe { inset: 0 0 72px 0; width: 100%; height: calc(100% - 72px); border-radius: 0; border-width: 0 0 1px; } button { bottom: 12px; } }
  `);
  const host = document.createElement("div");
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  const button = Object.assign(document.createElement("button"), { type: "button" });
  root.append(button);
  let frame = null; // loaded when it is first opened: a page that nobody asks costs nothing

  function setOpen(isOpen) {
    if (isOpen && !frame) {
      frame = Object.assign(document.createElement("iframe"), { src: `${origin}/chat`, title: "Help desk" });
      frame.addEventListener("load", () => frame.focus());
      root.append(frame);
    }
    if (frame) frame.hidden = !isOpen;
    button.textContent = isOpen ? "Close" : "Questions?";
    button.setAttribute("aria-expanded", isOpen);
    (isOpen ? frame : button).focus();
  }

  button.addEventListener("click", () => setOpen(!frame || frame.hidden));
  addEventListener("message", (event) => { // Escape was pressed inside the chat
    if (event.origin === origin && event.source === frame?.contentWindow && event.data === "help-desk:close") setOpen(false);
  });
  const show = () => { document.body.append(host); };
  button.textContent = "Questions?";
  button.setAttribute("aria-expanded", false);
  if (document.body) show();
  else addEventListener("DOMContentLoaded", show);
})();
