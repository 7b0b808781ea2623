// Interaction that needs no server. It is not required: every page works without it.
(() => {
  "use strict";
  const on = (type, selector, act) =>
    document.addEventListener(type, (event) => {
      const element = event.target.closest?.(selector);
      if (element) act(element, event);
    });

  on("click", "[data-theme-toggle]", () => {
    const root = document.documentElement;
    const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    root.dataset.bsTheme = theme;
    localStorage.setItem("theme", theme);
    document.dispatchEvent(new CustomEvent("theme"));
  });

  on("click", "[data-copy]", async (button) => {
    const text = document.getElementById(button.dataset.copy).textContent;
    await navigator.clipboard.writeText(text);
    const label = button.getAttribute("aria-label");
    button.setAttribute("aria-label", "Copied");
    button.classList.add("text-green");
    setTimeout(() => {
      if (label) button.setAttribute("aria-label", label);
      else button.removeAttribute("aria-label");
      button.classList.remove("text-green");
    }, 1500);
  });

  on("submit", "form[data-confirm]", (form, event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
  on("click", "button[data-confirm]", (button, event) => {
    if (!confirm(button.dataset.confirm)) event.preventDefault();
  });

  on("change", "select[data-go]", (select) => {
    if (select.value) location.assign(select.value);
  });

  const zones = document.querySelector("[data-guess-timezone]");
  if (zones && zones.value === "UTC") {
    const guess = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if ([...zones.options].some((option) => option.value === guess)) zones.value = guess;
  }

  // --- the event map ---
  const addRow = (name) => {
    const rows = document.querySelector("[data-map-rows]");
    const row = document.querySelector("[data-map-template]").content.firstElementChild.cloneNode(true);
    const number = `row-${rows.children.length + 1}-${Math.random().toString(36).slice(2, 7)}`;
    for (const element of row.querySelectorAll("[id]")) {
      const id = `${element.id}-${number}`;
      row.querySelector(`label[for="${element.id}"]`)?.setAttribute("for", id);
      element.id = id;
    }
    rows.append(row);
    const input = row.querySelector("input");
    if (name) {
      input.value = name;
      row.querySelector("select, .map-value input").focus();
    } else input.focus();
  };
  on("click", "[data-map-add]", () => addRow(""));
  on("click", "[data-map-remove]", (button) => button.closest("[data-map-row]").remove());
  on("click", "[data-map-suggest]", (link, event) => {
    event.preventDefault();
    addRow(link.dataset.mapSuggest);
    link.closest("[data-unmapped]").remove();
  });

  // --- the builder of filter conditions ---
  // The query language has no escapes: a text with one kind of quotes is put between the other kind.
  const quoted = (text) => (text.includes('"') ? `'${text}'` : `"${text}"`);
  const literal = (text) => (/^-?\d+(\.\d+)?$/.test(text) || ["true", "false"].includes(text) ? text : quoted(text));
  const line = (row) => {
    const path = row.querySelector("[data-builder-path]").value.trim();
    const operator = row.querySelector("[data-builder-operator]").value;
    const value = row.querySelector("[data-builder-value]").value;
    if (!path) return "";
    switch (operator) {
      case "exists": return `${path} != null`;
      case "!exists": return `${path} = null`;
      case "contains": return `contains(${path}, ${quoted(value)})`;
      case "!contains": return `!contains(${path}, ${quoted(value)})`;
      case "match": return `match(${path}, ${quoted(value)})`;
      default: return `${path} ${operator} ${literal(value)}`;
    }
  };
  const compose = () => {
    const rows = [...document.querySelectorAll("[data-builder-row]")].map(line).filter(Boolean);
    const joined = document.querySelector("[data-builder-joined]").value;
    const text = document.querySelector("[data-fql]");
    text.value = rows.join(` ${joined} `);
    text.dispatchEvent(new CustomEvent("fql", { bubbles: true }));
  };
  const showValues = () => {
    for (const row of document.querySelectorAll("[data-builder-row]")) {
      const operator = row.querySelector("[data-builder-operator]").value;
      row.querySelector("[data-builder-value]").hidden = operator === "exists" || operator === "!exists";
    }
  };
  if (document.querySelector("[data-builder]")) showValues();
  on("input", "[data-builder] input, [data-builder] select", () => {
    showValues();
    compose();
  });
  on("click", "[data-builder-add]", () => {
    const template = document.querySelector("[data-builder-template]");
    document.querySelector("[data-builder-rows]").append(template.content.cloneNode(true));
    showValues();
  });
  on("click", "[data-builder-remove]", (button) => {
    button.closest("[data-builder-row]").remove();
    compose();
  });
  on("change", "[data-action]", (chosen) => {
    for (const element of document.querySelectorAll("[data-for-action]"))
      element.hidden = !element.dataset.forAction.split(" ").includes(chosen.value);
  });
  // The server decides whether the entered text can be shown as lines.
  on("input", "[data-fql]", () => {
    const builder = document.querySelector("[data-builder]");
    builder.hidden = true;
    document.querySelector("[data-builder-off]").hidden = false;
  });

  // --- the live debugger ---
  const debug = document.querySelector("[data-debugger]");
  if (debug) {
    const list = debug.querySelector("[data-debugger-list]");
    const search = debug.querySelector("[data-debugger-search]");
    const pause = debug.querySelector("[data-debugger-pause]");
    const state = debug.querySelector("[data-debugger-state]");
    const dot = debug.querySelector("[data-debugger-dot]");
    const ROWS_MAX = 500;
    let waiting = new Map();
    let paused = false;

    const showPause = () => {
      if (paused) state.textContent = waiting.size ? `Paused, ${waiting.size} new` : "Paused";
    };
    const matches = (row) => row.dataset.search.includes(search.value.trim().toLowerCase());
    const put = (row) => {
      const current = document.getElementById(row.id);
      row.hidden = !matches(row);
      if (current?.open) {
        // An open row keeps its content; only its results are replaced.
        current.querySelector(".live-results").replaceWith(row.querySelector(".live-results"));
        return;
      }
      if (current) current.replaceWith(row);
      else {
        row.classList.add("is-new");
        list.prepend(row);
      }
      htmx.process(row);
    };
    const show = () => {
      for (const row of waiting.values()) put(row);
      waiting = new Map();
      while (list.children.length > ROWS_MAX) list.lastElementChild.remove();
      if (list.children.length) debug.querySelector("[data-debugger-empty]").hidden = true;
    };
    search.addEventListener("input", () => {
      for (const row of list.children) row.hidden = !matches(row);
    });
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      pause.querySelector("span").textContent = paused ? "Resume" : "Pause";
      if (!paused) {
        show();
        state.textContent = "Live";
      }
      showPause();
    });
    const stream = new EventSource(debug.dataset.debugger);
    stream.addEventListener("open", () => {
      dot.classList.add("is-on");
      if (!paused) state.textContent = "Live";
    });
    stream.addEventListener("error", () => {
      dot.classList.remove("is-on");
      state.textContent = "Connecting";
    });
    stream.addEventListener("events", (event) => {
      const holder = document.createElement("template");
      holder.innerHTML = JSON.parse(event.data);
      for (const row of [...holder.content.children]) waiting.set(row.id, row);
      if (paused) showPause();
      else show();
    });
    addEventListener("pagehide", () => stream.close());
  }
})();
