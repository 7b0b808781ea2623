// Before the first paint: the theme that was chosen here, else the one of the system.
(() => {
  const root = document.documentElement;
  const chosen = localStorage.getItem("theme");
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.bsTheme = dark ? "dark" : "light";
  root.classList.add("js"); // what scripts fold away stays visible without them

  let shown = root.dataset.bsTheme; // browsers print no backgrounds: the text of the dark theme would be invisible
  addEventListener("beforeprint", () => {
    shown = root.dataset.bsTheme;
    root.dataset.bsTheme = "light";
  });
  addEventListener("afterprint", () => {
    root.dataset.bsTheme = shown;
  });
})();
