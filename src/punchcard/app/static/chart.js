// Charts over time. Their numbers are in a JSON element of the page.
(() => {
  "use strict";
  const HEIGHT = 240;
  const STEPS = Array.from({ length: 36 }, (_, number) => [1, 2, 5][number % 3] * 10 ** Math.floor(number / 3)); // whole numbers
  const number = new Intl.NumberFormat(document.documentElement.lang);
  const time = (at, zone) =>
    new Intl.DateTimeFormat(document.documentElement.lang, {
      timeZone: zone,
      month: "short",
      day: "numeric",
      hour: "2-digit",
      minute: "2-digit",
      hourCycle: "h23",
    }).format(at * 1000);

  // The labels of the axis are in numerals of one width: seven pixels each, and the ticks.
  const labelWidth = (_, labels) => Math.max(60, 20 + 7 * Math.max(0, ...(labels ?? []).map((label) => label.length)));

  // A box beside the cursor with the values there; it is read aloud while the arrow keys move the cursor.
  const addTooltip = (place, data) => {
    const box = document.createElement("div");
    box.className = "chart-tooltip";
    box.setAttribute("role", "status");
    box.hidden = true;
    return {
      hooks: {
        ready: (chart) => chart.over.append(box),
        setCursor: (chart) => {
          const { idx, left } = chart.cursor;
          box.hidden = idx === null || idx === undefined || left < 0;
          if (box.hidden) return;
          const lines = data.series.map((series) => `${series.label}: ${number.format(Number(series.values[idx]))}`);
          box.textContent = [time(data.times[idx], data.zone), ...lines].join("\n");
          const at = chart.valToPos(data.times[idx], "x");
          const isRight = at > chart.over.clientWidth / 2;
          box.style.left = isRight ? "auto" : `${at + 12}px`;
          box.style.right = isRight ? `${chart.over.clientWidth - at + 12}px` : "auto";
        },
      },
    };
  };

  const moveByKeys = (place, chart, data) => {
    const last = data.times.length - 1;
    const show = (index) =>
      chart.setCursor({ left: chart.valToPos(data.times[index], "x"), top: chart.over.clientHeight / 2 });
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    place.onkeydown = (event) => {
      if (event.key === "Escape") return chart.setCursor({ left: -10, top: -10 });
      const move = moves[event.key];
      if (move === undefined) return;
      event.preventDefault();
      const from = chart.cursor.left >= 0 ? (chart.cursor.idx ?? last) : last + (move > 0 ? 0 : 1);
      show(Math.min(last, Math.max(0, from + move)));
    };
    place.onblur = () => chart.setCursor({ left: -10, top: -10 });
  };

  const charts = new Map();
  const draw = () => {
    for (const place of document.querySelectorAll("[data-chart]")) {
      const data = JSON.parse(document.getElementById(place.dataset.chart).textContent);
      const style = getComputedStyle(document.documentElement);
      const color = (series) => style.getPropertyValue(`--tblr-${series.color}`).trim();
      const text = getComputedStyle(place).color;
      const grid = { stroke: style.getPropertyValue("--punchcard-grid"), width: 1 };
      const axis = { stroke: text, grid, ticks: grid };
      charts.get(place)?.destroy();
      const chart = new uPlot(
        {
          width: place.clientWidth,
          height: HEIGHT,
          tzDate: (at) => uPlot.tzDate(new Date(at * 1000), data.zone),
          cursor: { y: false, drag: { x: false, y: false } },
          legend: { show: data.series.length > 1, live: false },
          scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] } },
          axes: [axis, { ...axis, size: labelWidth, incrs: STEPS, values: (_, values) => values.map((value) => number.format(value)) }],
          plugins: [addTooltip(place, data)],
          series: [
            {},
            ...data.series.map((series) => ({
              label: series.label,
              stroke: color(series),
              fill: data.series.length > 1 ? undefined : `color-mix(in srgb, ${color(series)} 15%, transparent)`,
              width: 2,
              points: { show: data.times.length < 3 },
            })),
          ],
        },
        [data.times, ...data.series.map((series) => series.values.map(Number))],
        place,
      );
      charts.set(place, chart);
      moveByKeys(place, chart, data);
    }
  };
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = charts.get(target);
      if (chart && Math.abs(chart.width - target.clientWidth) > 2) chart.setSize({ width: target.clientWidth, height: HEIGHT });
    }
  });
  const start = () => {
    draw();
    for (const place of document.querySelectorAll("[data-chart]")) resized.observe(place);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
  document.addEventListener("theme", draw);
  document.addEventListener("htmx:afterSwap", () => {
    if ([...document.querySelectorAll("[data-chart]")].some((place) => !charts.has(place))) start();
  });
})();
