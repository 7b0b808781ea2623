// What asks before it acts: buttons with `data-confirm`, and links that would leave unsaved changes behind.
(() => {
  "use strict";
  const dialog = document.getElementById("confirmation");
  if (!dialog) return;
  const title = document.getElementById("confirmation-title");
  const text = document.getElementById("confirmation-text");
  const cancel = dialog.querySelector("[data-confirmation-cancel]");
  const act = dialog.querySelector("[data-confirmation-act]");
  let confirm = () => {};

  // The question is the title; what follows from a yes is below it. The button says what the pressed one says.
  const ask = ({ message, action, refusal, isDangerous }, then) => {
    const end = message.indexOf("?") + 1 || message.length;
    title.textContent = message.slice(0, end);
    text.textContent = message.slice(end).trim();
    text.hidden = !text.textContent;
    act.textContent = action;
    act.className = `btn ${isDangerous ? "btn-danger" : "btn-primary"}`;
    cancel.textContent = refusal;
    confirm = then;
    dialog.showModal();
    cancel.focus(); // Enter, pressed once too often, must not delete anything
  };
  cancel.addEventListener("click", () => dialog.close());
  act.addEventListener("click", () => {
    dialog.close(); // first: this returns the focus to the pressed button
    confirm();
  });
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog) dialog.close(); // beside its content
  });

  // --- buttons with a confirmation ---
  const wordsOf = (button) => button?.textContent.trim().replace(/\s+/g, " ") || button?.getAttribute("aria-label") || "OK";
  let confirmed = null; // the form whose next submission was confirmed
  // Before all other listeners: until it is confirmed, nothing else may see the submission.
  document.addEventListener("submit", (event) => {
    const { target: form, submitter: button } = event;
    const message = button?.dataset.confirm ?? form.dataset.confirm;
    // An action on all rows that match has a page of its own for the confirmation.
    const hasOwnPage = button?.dataset.confirm && form.elements.which?.value === "all";
    const isConfirmed = confirmed === form;
    confirmed = null;
    if (!message || hasOwnPage || isConfirmed) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const isDangerous = Boolean(button?.matches(".text-red, .btn-danger, .btn-outline-danger"));
    ask({ message, action: wordsOf(button), refusal: "Cancel", isDangerous }, () => {
      confirmed = form;
      form.requestSubmit(button);
    });
  }, true);

  // --- unsaved changes ---
  const states = new Map();
  const stateOf = (form) => JSON.stringify([...new FormData(form)].filter(([name]) => name !== "_csrf"));
  // Not those that only choose rows or try something, and no passwords, which a browser fills in by itself.
  const guarded = 'main form[method="post"]:not([data-unguarded], [data-upload], :has([autocomplete$="password"]))';
  for (const form of document.querySelectorAll(guarded)) {
    const wasRefused = form.matches('[data-guard="unsaved"], :has(.is-invalid, [data-refused])'); // what was typed is not saved
    states.set(form, wasRefused ? "" : stateOf(form));
  }
  // In a list of many forms a button is shown once its form has something to save.
  const mark = (form) => {
    const button = form?.querySelector("[data-when-changed]");
    if (button) button.classList.toggle("is-changed", states.has(form) && stateOf(form) !== states.get(form));
  };
  for (const type of ["input", "change"]) document.addEventListener(type, ({ target }) => mark(target.form));
  for (const form of states.keys()) mark(form);
  const isChanged = () => [...states].some(([form, state]) => form.isConnected && stateOf(form) !== state);
  let leaves = false; // by sending a form, or because the changes are discarded
  document.addEventListener("submit", (event) => {
    if (!event.target.hasAttribute("hx-post")) leaves = !event.defaultPrevented;
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const isHere = link.pathname === location.pathname && link.search === location.search && link.hash;
    if (link.origin !== location.origin || link.target || link.hasAttribute("download") || isHere || leaves || !isChanged()) return;
    event.preventDefault();
    const message = "Leave without saving? What you changed on this page is lost.";
    ask({ message, action: "Leave", refusal: "Keep editing", isDangerous: true }, () => {
      leaves = true;
      location.assign(link.href);
    });
  });
  // Closing the tab, reloading and going back: here a browser allows no dialog but its own.
  addEventListener("beforeunload", (event) => {
    if (!leaves && isChanged()) event.preventDefault();
  });
  // The page may come back as it was left.
  addEventListener("pageshow", () => { leaves = false; });
})();
