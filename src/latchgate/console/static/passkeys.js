// Passkeys: asks the browser to make one or to sign with one, and takes its answer to the server.
// Without JavaScript there are none, and every page has another way on.

/** Bytes as the API writes them: base64url without padding. */
const encode = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const decode = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

/** The options with bytes where the browser wants them. */
function read(options) {
  const withBytes = (list) => list?.map((item) => ({ ...item, id: decode(item.id) }));
  return {
    ...options,
    challenge: decode(options.challenge),
    ...(options.user && { user: { ...options.user, id: decode(options.user.id) } }),
    ...(options.allowCredentials && { allowCredentials: withBytes(options.allowCredentials) }),
    ...(options.excludeCredentials && { excludeCredentials: withBytes(options.excludeCredentials) }),
  };
}

/** What the browser made, as the specification's toJSON writes it. */
function write(credential) {
  const { response } = credential;
  const written = { clientDataJSON: encode(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) written[name] = encode(response[name]);
  }
  if (response.getTransports) written.transports = response.getTransports();
  return {
    id: credential.id,
    rawId: encode(credential.rawId),
    type: credential.type,
    clientExtensionResults: {},
    response: written,
  };
}

/** One call of the management API; an Error has its sentence and its code. */
async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });
  const text = await answer.text();
  const said = text ? JSON.parse(text) : {};
  if (!answer.ok) throw Object.assign(new Error(said.error.message), { code: said.error.code });
  return said;
}

const ways = {
  async login(form) {
    const { ticket, options } = await call("POST", "/api/session/passkey/challenge");
    const credential = write(await navigator.credentials.get({ publicKey: read(options) }));
    await call("POST", "/api/session/passkey", { ticket, credential });
    location.assign(form.elements.next.value);
  },
  async confirm(form) {
    const { ticket, options } = await call("POST", "/api/session/confirmation/challenge");
    const credential = write(await navigator.credentials.get({ publicKey: read(options) }));
    await call("PUT", "/api/session/confirmation/passkey", { ticket, credential });
    const goesTo = form.elements.confirm_to.value;
    if (form.elements.confirm_method.value === "get") return location.assign(goesTo);
    for (const field of form.querySelectorAll("[name^=confirm_]")) field.disabled = true;
    form.action = goesTo;
    form.submit(); // as it was: what was typed goes where it was sent in the first place
  },
  async make(form) {
    const { ticket, options } = await call("POST", "/api/passkeys/challenge");
    const credential = write(await navigator.credentials.create({ publicKey: read(options) }));
    await call("POST", "/api/passkeys", { ticket, credential, name: form.elements.name.value });
    location.assign("/security?notice=passkey");
  },
};

/** What went wrong, in a sentence. */
function sentence(error) {
  if (error.name === "NotAllowedError") return "Nothing was done: it was called off, or took too long.";
  if (error.name === "InvalidStateError") return "This device has a passkey for your account already.";
  return error.code ? error.message : "Your browser could not do it. Use another way.";
}

for (const button of document.querySelectorAll("[data-passkey]")) {
  if (!window.PublicKeyCredential) {
    document.querySelector("[data-passkey-missing]")?.removeAttribute("hidden");
    continue;
  }
  const form = button.form;
  const way = ways[button.dataset.passkey];
  const problem = document.getElementById("passkey-problem");
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    problem.textContent = "";
    try {
      await way(form);
    } catch (error) {
      if (error.code === "reauthentication_required") location.reload();
      problem.textContent = sentence(error);
    } finally {
      button.disabled = false;
    }
  });
  // Enter in a form that only this button sends: as a click.
  if (form.hasAttribute("data-passkey-form")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      button.click();
    });
  }
}
