// The command palette. Without scripts its links lead to the search page.
(() => {
  "use strict";
  const palette = document.getElementById("palette");
  if (!palette) return;
  const field = document.getElementById("palette-text");
  const results = document.getElementById("palette-results");
  const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
  for (const key of document.querySelectorAll("[data-palette-key]")) if (isMac) key.textContent = "⌘ K";

  const options = () => [...results.querySelectorAll("[role=option]:not([aria-disabled])")];
  const select = (option) => {
    for (const other of options()) other.setAttribute("aria-selected", String(other === option));
    if (!option) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  };
  const selected = () => results.querySelector("[role=option][aria-selected=true]");
  const open = () => {
    if (palette.open) return;
    palette.showModal();
    field.select();
    // Once the palette is painted: requesting the results takes as long as showing it.
    requestAnimationFrame(() => setTimeout(() => field.dispatchEvent(new Event("palette"))));
  };

  let opensResults = false; // Enter was pressed before the results of the text were there
  let shown = null; // the text that the results belong to
  const openSelected = () => {
    const option = selected();
    if (option) option.click();
  };
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.target !== results) return;
    shown = new URL(event.detail.pathInfo.responsePath, location.href).searchParams.get("q") ?? "";
    select(options()[0]);
    if (opensResults && shown === field.value) openSelected();
    opensResults = false;
  });

  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    if (palette.open) palette.close();
    else open();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-palette-open]") && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      open();
    }
    if (event.target.closest("[data-palette-close]") || event.target === palette) palette.close();
  });
  results.addEventListener("mousemove", (event) => {
    const option = event.target.closest("[role=option]:not([aria-disabled])");
    if (option && option !== selected()) select(option);
  });
  field.addEventListener("keydown", (event) => {
    const all = options();
    const at = all.indexOf(selected());
    const moves = { ArrowDown: (at + 1) % all.length, ArrowUp: (at - 1 + all.length) % all.length };
    if (event.key in moves && all.length) {
      event.preventDefault();
      select(all[moves[event.key]]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (shown === field.value) openSelected();
      else opensResults = true;
    }
  });
  field.addEventListener("input", () => { opensResults = false; });
})();
