// Passkeys: asks the browser for one when a form with data-passkey is sent, and sends the response with the form.
(() => {
  "use strict";
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
  const base64url = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const descriptors = (list) => list.map((descriptor) => ({ ...descriptor, id: bytes(descriptor.id) }));

  const readOptions = (form) => {
    const options = JSON.parse(form.dataset.options);
    options.challenge = bytes(options.challenge);
    if (options.user) options.user.id = bytes(options.user.id);
    if (options.allowCredentials) options.allowCredentials = descriptors(options.allowCredentials);
    if (options.excludeCredentials) options.excludeCredentials = descriptors(options.excludeCredentials);
    return options;
  };
  const describe = ({ id, rawId, type, response }) => {
    const content = { clientDataJSON: base64url(response.clientDataJSON) };
    if (response.attestationObject) content.attestationObject = base64url(response.attestationObject);
    else {
      content.authenticatorData = base64url(response.authenticatorData);
      content.signature = base64url(response.signature);
      if (response.userHandle) content.userHandle = base64url(response.userHandle);
    }
    return JSON.stringify({ id, rawId: base64url(rawId), type, response: content });
  };

  const explain = (form, error) => {
    const texts = {
      InvalidStateError: "This device has a passkey for your account already.",
      NotAllowedError: "No passkey was used. Try again, or go on another way.",
      NotSupportedError: "This device cannot create a passkey. Use another one, or a security key.",
      SecurityError: `Passkeys work only at ${form.dataset.origin}. Open Punchcard there.`,
    };
    const message = form.querySelector("[data-passkey-message]");
    message.textContent = texts[error.name] ?? `The browser reports: ${error.message}`;
    message.hidden = false;
  };
  const send = (form, credential) => {
    form.elements.response.value = describe(credential);
    form.requestSubmit();
  };

  let waiting = null; // ends the request for the browser's own suggestions; only one may wait
  const suggest = async (form) => {
    if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
    waiting = new AbortController();
    try {
      const request = { publicKey: readOptions(form), mediation: "conditional", signal: waiting.signal };
      send(form, await navigator.credentials.get(request));
    } catch (error) {
      if (error.name !== "AbortError") explain(form, error);
    }
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.passkey || form.elements.response.value) return;
    event.preventDefault();
    waiting?.abort();
    try {
      send(form, await navigator.credentials[form.dataset.passkey]({ publicKey: readOptions(form) }));
    } catch (error) {
      explain(form, error);
    }
  });

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!window.PublicKeyCredential) {
      explain(form, { name: "", message: "it has no passkeys" });
      continue;
    }
    form.elements.response.value = ""; // a browser keeps it when the page is reloaded
    for (const part of document.querySelectorAll(`[data-passkey-of="${form.id}"]`)) part.hidden = false;
    if (form.hasAttribute("data-suggest") && location.origin === form.dataset.origin) suggest(form);
  }
})();
