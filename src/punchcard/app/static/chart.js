// Charts over time. Their numbers are in a JSON element of the page.
(() => {
  "use strict";
  const draw = () => {
    for (const place of document.querySelectorAll("[data-chart]")) {
      const data = JSON.parse(document.getElementById(place.dataset.chart).textContent);
      const style = getComputedStyle(document.documentElement);
      const colors = ["--tblr-azure", "--tblr-green", "--tblr-orange", "--tblr-red"].map((name) => style.getPropertyValue(name));
      const text = getComputedStyle(place).color;
      const grid = { stroke: style.getPropertyValue("--tblr-border-color"), width: 1 };
      const right = data.series.some((series) => series.scale === "right");
      place.replaceChildren();
      const chart = new uPlot(
        {
          width: place.clientWidth,
          height: 260,
          tzDate: (at) => uPlot.tzDate(new Date(at * 1000), data.zone),
          scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] }, right: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] } },
          axes: [{ stroke: text, grid }, { stroke: text, grid, size: 60 }, ...(right ? [{ side: 1, scale: "right", stroke: text, grid: { show: false }, size: 60 }] : [])],
          series: [
            {},
            ...data.series.map((series, number) => ({
              label: series.label,
              scale: series.scale === "right" ? "right" : "y",
              stroke: colors[number],
              width: 2,
              points: { show: false },
            })),
          ],
        },
        [data.times, ...data.series.map((series) => series.values.map(Number))],
        place,
      );
      new ResizeObserver(() => {
        if (Math.abs(chart.width - place.clientWidth) > 2) chart.setSize({ width: place.clientWidth, height: 260 });
      }).observe(place);
    }
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", draw);
  else draw();
  document.addEventListener("theme", draw);
})();
