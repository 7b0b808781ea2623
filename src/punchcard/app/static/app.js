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

  // A file is sent with its progress; without scripts the form is sent as it is.
  on("submit", "form[data-upload]", (form, event) => {
    event.preventDefault();
    const problem = form.querySelector("[data-upload-problem]");
    const progress = form.querySelector("[data-upload-progress]");
    const button = form.querySelector("button.btn-primary");
    const [bar, text] = progress.children;
    const end = (message) => {
      problem.textContent = message;
      problem.hidden = !message;
      progress.hidden = Boolean(message);
      button.disabled = !message;
    };
    end("");
    const request = new XMLHttpRequest();
    request.upload.onprogress = ({ loaded, total }) => {
      const percent = Math.floor((100 * loaded) / total);
      if (percent < 100) bar.value = percent;
      else bar.removeAttribute("value");
      text.textContent = percent < 100 ? `${percent} % uploaded` : "Reading the rows";
    };
    request.onload = () => {
      const next = request.getResponseHeader("HX-Redirect");
      if (next) return location.assign(next);
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      const alert = page.querySelector(".alert-danger:not([hidden]), .empty-subtitle");
      end(alert?.textContent.trim() || "The file could not be uploaded. Reload the page and try again.");
    };
    request.onerror = () => end("The connection was closed. Nothing was changed. Try again.");
    request.open("POST", form.action);
    request.setRequestHeader("HX-Request", "true");
    request.send(new FormData(form));
  });

  // A form is sent once: the second click of a double click would meet what the first has changed.
  const SENT_MILLISECONDS = 10_000; // then a page that is still there may have been stopped by its reader
  const sent = new Set();
  // Behind all other listeners, which may send the form themselves later.
  addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || !form.matches("form[method=post]:not([hx-post], [data-upload], [data-download])")) return;
    if (sent.has(form)) return event.preventDefault();
    sent.add(form);
    setTimeout(() => sent.delete(form), SENT_MILLISECONDS);
  });
  addEventListener("pageshow", () => sent.clear()); // the page may come back as it was left

  // An error stays until its field is changed; whether the new value is right, the server says.
  on("input", ".is-invalid", (field) => {
    field.classList.remove("is-invalid");
    field.removeAttribute("aria-invalid");
    document.getElementById(`w-${field.name}`)?.remove();
    if (!field.form?.querySelector(".is-invalid")) field.form?.querySelector("[data-field-errors]")?.remove();
  });

  // --- keyboard ---
  // After a form was refused, its first wrong field is next.
  if (document.activeElement === document.body) document.querySelector("main .is-invalid")?.focus();
  // A button is disabled while it works, which takes the focus away from it.
  const focused = new WeakMap();
  document.addEventListener("htmx:beforeRequest", ({ detail }) => focused.set(detail.xhr, document.activeElement));
  document.addEventListener("htmx:afterRequest", ({ detail }) =>
    setTimeout(() => {
      const element = focused.get(detail.xhr);
      if (element?.isConnected && document.activeElement === document.body) element.focus({ preventScroll: true });
    }));

  on("change", "select[data-go]", (select) => {
    if (select.value) location.assign(select.value);
  });

  // --- menus ---
  on("click", "[data-menu]", (button) => {
    const isOpen = document.getElementById(button.dataset.menu).classList.toggle("is-open");
    button.setAttribute("aria-expanded", String(isOpen));
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // --- long lists on phones ---
  // What would make a page longer than six screens is hidden until somebody wants it. Rows with an error stay.
  const isNoted = (row) => row?.matches("[data-map-note]") ?? false;
  if (matchMedia("(max-width: 767.98px)").matches) {
    // `data-fold` is for lists whose rows are larger or smaller than those of other tables.
    for (const list of document.querySelectorAll("[data-fold], table.card-table > tbody:only-of-type")) {
      const size = Number(list.dataset.fold ?? 20);
      const rows = [...list.children].slice(size).filter((row) => !(
        isNoted(row) || isNoted(row.nextElementSibling) || row.querySelector(".is-invalid") || (row.id && location.hash === `#${row.id}`)));
      if (!rows.length) continue;
      for (const row of rows) row.hidden = true;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "btn w-100";
      button.textContent = `Show more (${rows.length})`;
      button.addEventListener("click", () => {
        const shown = rows.splice(0, size);
        for (const row of shown) row.hidden = false;
        shown[0].querySelector("a, input, button, select")?.focus();
        if (rows.length) button.textContent = `Show more (${rows.length})`;
        else button.remove();
      });
      (list.closest(".table-responsive, table") ?? list).after(button);
    }
  }

  for (const tab of document.querySelectorAll(".tabs [aria-current]")) {
    const bar = tab.closest(".tabs");
    bar.scrollLeft = tab.offsetLeft - bar.offsetLeft - (bar.clientWidth - tab.offsetWidth) / 2;
  }

  // --- tables ---
  on("click", "[data-toggle-row]", (button) => {
    const isOpen = document.getElementById(button.dataset.toggleRow).classList.toggle("is-open");
    button.setAttribute("aria-expanded", String(isOpen));
  });

  // On a phone a row is a card: each cell shows the header of its column.
  const headersOf = (table) =>
    [...table.tHead.rows[0].cells].map((cell) => (cell.querySelector(".visually-hidden, input") ? "" : cell.textContent.trim()));
  const labelCells = (table, bodies = table.tBodies) => {
    if (!table.tHead) return;
    const labels = headersOf(table);
    // The first column names the row, or a heading of its own does.
    const title = table.querySelector(":scope > tbody th[scope=row]") ? 0 : labels.findIndex(Boolean);
    for (const body of bodies)
      for (const row of body.rows) {
        if (row.cells.length !== labels.length) continue;
        [...row.cells].forEach((cell, column) => {
          const isEmpty = !cell.textContent.trim() && !cell.querySelector("input, button, a, svg, select");
          if (column !== title && labels[column] && !isEmpty) cell.dataset.label = labels[column];
          cell.classList.toggle("is-empty", isEmpty);
        });
      }
  };

  // What does not fit into a cell is shown while the pointer is on it.
  on("mouseover", ".table-fixed td", (cell) => {
    if (cell.scrollWidth > cell.clientWidth && !cell.title && !cell.querySelector("[title]")) cell.title = cell.textContent.trim();
  });

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell?.querySelector("time")?.dateTime ?? cell?.textContent.trim() ?? "";
    const plain = text.replaceAll(",", "");
    return plain !== "" && !Number.isNaN(Number(plain)) ? Number(plain) : text.toLowerCase();
  };
  const collator = new Intl.Collator(document.documentElement.lang || undefined, { numeric: true });
  const compare = (one, other) => {
    if (typeof one === typeof other && typeof one === "number") return one - other;
    return collator.compare(String(one), String(other));
  };
  // Sorts the rows on the page; a row with details is a body of its own.
  const sortBy = (table, column) => {
    const header = table.tHead.rows[0].cells[column];
    const descends = header.getAttribute("aria-sort") === "ascending";
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descends ? "descending" : "ascending");
    const bodies = [...table.tBodies];
    const [parent, units] = bodies.length > 1 ? [table, bodies] : [bodies[0], [...bodies[0].rows]];
    const rowOf = (unit) => unit.rows?.[0] ?? unit;
    // The value of each row is read once: reading the page costs more than comparing.
    const values = new Map(units.map((unit) => [unit, valueOf(rowOf(unit), column)]));
    units.sort((one, other) => compare(values.get(one), values.get(other)) * (descends ? -1 : 1));
    parent.append(...units);
  };
  const makeSortable = (table) => {
    if (table.rows.length < 3) return;
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      if ("unsorted" in cell.dataset || cell.querySelector("button")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.title = "Sort the rows on this page";
      button.append(...cell.childNodes);
      button.addEventListener("click", () => sortBy(table, column));
      cell.append(button);
    });
  };

  const offerColumns = (table) => {
    const menu = document.querySelector(`[data-columns-of="${table.dataset.columns}"]`);
    if (!menu) return;
    const key = `columns-${table.dataset.columns}`;
    const hidden = new Set(JSON.parse(localStorage.getItem(key) ?? "[]"));
    const headers = [...table.tHead.rows[0].cells];
    const show = () => {
      const isHidden = headers.map((header) => hidden.has(header.textContent.trim()));
      for (const row of [...table.rows])
        if (row.cells.length === headers.length) [...row.cells].forEach((cell, column) => (cell.hidden = isHidden[column]));
    };
    const body = menu.querySelector(".menu-body");
    for (const header of headers.filter((cell) => !("fixed" in cell.dataset))) {
      const name = header.textContent.trim();
      const label = document.createElement("label");
      label.className = "form-check mb-1";
      const box = document.createElement("input");
      box.type = "checkbox";
      box.className = "form-check-input";
      box.checked = !hidden.has(name);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(name);
        else hidden.add(name);
        localStorage.setItem(key, JSON.stringify([...hidden]));
        show();
      });
      const text = document.createElement("span");
      text.className = "form-check-label";
      text.textContent = name;
      label.append(box, text);
      body.append(label);
    }
    menu.hidden = false;
    show();
  };
  const prepareTables = (root) => {
    for (const table of root.querySelectorAll("table.card-table")) labelCells(table);
    for (const table of root.querySelectorAll("table[data-columns]")) offerColumns(table);
    for (const table of root.querySelectorAll("table[data-sortable]")) makeSortable(table);
  };
  prepareTables(document);
  document.addEventListener("htmx:afterSwap", (event) => prepareTables(event.target.parentElement ?? document));
  // On a phone the answer to a button may be below the screen.
  document.addEventListener("htmx:afterSwap", ({ target, detail }) => {
    const isAsked = ["click", "submit"].includes(detail.requestConfig?.triggeringEvent?.type);
    if (isAsked && target.closest("[aria-live]")) target.scrollIntoView({ block: "nearest" });
  });

  // --- actions on several rows ---
  for (const which of document.querySelectorAll("[data-bulk-which]")) {
    const { form } = which;
    const words = form.querySelector("[data-bulk-words]");
    const all = form.querySelector("[data-bulk-page]");
    const every = form.querySelector("[data-bulk-every]");
    const boxes = [...form.querySelectorAll("input[type=checkbox][name=id]")];
    const { bulkNoun: noun, bulkNouns: nouns, bulkTotal: total } = words.dataset;
    const show = () => {
      const count = boxes.filter((box) => box.checked).length;
      all.checked = count > 0 && count === boxes.length;
      all.indeterminate = count > 0 && count < boxes.length;
      const selected = `${count} ${count === 1 ? noun : nouns} selected`;
      words.textContent = which.value === "all" ? `All ${total} ${nouns} that match are selected` : count ? selected : "";
      every.textContent = which.value === "all" ? "Clear selection" : `Select all ${total}`;
    };
    all.hidden = !boxes.length;
    all.addEventListener("change", () => {
      for (const box of boxes) box.checked = all.checked;
      if (!all.checked) which.value = "chosen";
      show();
    });
    for (const box of boxes)
      box.addEventListener("change", () => {
        which.value = "chosen";
        show();
      });
    every.addEventListener("click", () => {
      which.value = which.value === "all" ? "chosen" : "all";
      for (const box of boxes) box.checked = which.value === "all";
      show();
    });
    which.hidden = true;
    every.hidden = !boxes.length;
    which.value = "chosen"; // a browser keeps it when the page is reloaded
    show();
  }
  document.querySelector("form[data-submit-now]")?.requestSubmit();

  const zones = document.querySelector("[data-guess-timezone]");
  if (zones && zones.value === "UTC") {
    const guess = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if ([...zones.options].some((option) => option.value === guess)) zones.value = guess;
  }

  // --- the event map ---
  const addRow = (name) => {
    const rows = document.querySelector("[data-map-rows]");
    const row = document.querySelector("[data-map-template]").content.querySelector("[data-map-row]").cloneNode(true);
    const number = `row-${rows.rows.length + 1}-${Math.random().toString(36).slice(2, 7)}`;
    for (const element of row.querySelectorAll("[id]")) {
      const id = `${element.id}-${number}`;
      row.querySelector(`label[for="${element.id}"]`)?.setAttribute("for", id);
      element.id = id;
    }
    rows.append(row);
    const input = row.querySelector("input");
    if (name) {
      input.value = name;
      row.querySelector("select, td:nth-child(2) input").focus();
    } else input.focus();
    labelCells(rows.closest("table"));
  };
  on("click", "[data-map-add]", () => addRow(""));
  on("click", "[data-map-remove]", (button) => {
    const row = button.closest("[data-map-row]");
    if (row.nextElementSibling?.matches("[data-map-note]")) row.nextElementSibling.remove();
    row.remove();
  });
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

  // A value field suggests the frequent values of the property in the same condition.
  document.addEventListener("focusin", ({ target }) => {
    if (!target.matches?.("[data-values]")) return;
    const path = target.closest("[data-builder-row], .audience-part, .audience-main")?.querySelector("[data-path]");
    const list = document.querySelector(
      `[data-values-of="${CSS.escape(`${target.dataset.values}:${path?.value.trim() ?? ""}`)}"]`);
    if (list) target.setAttribute("list", list.id);
    else target.removeAttribute("list");
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
      const count = waiting.size < ROWS_MAX ? waiting.size : `${ROWS_MAX} or more`;
      if (paused) state.textContent = waiting.size ? `Paused, ${count} new` : "Paused";
    };
    const matches = (row) => row.dataset.search.includes(search.value.trim().toLowerCase());
    // Replaces a row that is shown already; returns whether the row is to be added.
    const isNew = (row) => {
      const current = document.getElementById(row.id);
      row.hidden = !matches(row);
      if (!current) {
        row.classList.add("is-new");
        return true;
      }
      // An open row keeps its content; only its results are replaced.
      if (current.querySelector(".live-details.is-open"))
        current.querySelector(".live-results").replaceWith(row.querySelector(".live-results"));
      else current.replaceWith(row);
      return false;
    };
    const show = () => {
      const rows = [...waiting.values()];
      waiting = new Map();
      list.tHead.after(...rows.filter(isNew).reverse()); // the newest first
      while (list.tBodies.length > ROWS_MAX) list.lastElementChild.remove();
      const shown = rows.filter((row) => row.isConnected);
      for (const row of shown) htmx.process(row);
      labelCells(list, shown);
      list.hidden = !list.tBodies.length;
      debug.querySelector("[data-debugger-empty]").hidden = !list.hidden;
    };
    search.addEventListener("input", () => {
      for (const row of list.tBodies) row.hidden = !matches(row);
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
      if (paused) showPause();
      else state.textContent = "Live";
    });
    stream.addEventListener("error", () => {
      dot.classList.remove("is-on");
      state.textContent = "Connecting";
    });
    stream.addEventListener("events", (event) => {
      const holder = document.createElement("template");
      holder.innerHTML = JSON.parse(event.data);
      for (const row of [...holder.content.children]) waiting.set(row.id, row);
      for (const id of waiting.keys()) {
        if (waiting.size <= ROWS_MAX) break;
        waiting.delete(id); // while paused: what would not be shown
      }
      if (paused) showPause();
      else show();
    });
    addEventListener("pagehide", () => stream.close());
  }
})();
