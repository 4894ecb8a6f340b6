// Charts of the last hour, from /status/figures. Without the profile observability there is no Prometheus, and the section
// stays hidden. Values are shown as text only.
"use strict";

const FIGURES_MILLISECONDS = 30000;
const HOUR_SECONDS = 3600;
const CHART = { width: 120, height: 32 };
const FIGURES = [
  { name: "mlops:predictions:rate1m", title: "Requests per second", format: (value) => formatScore(value) },
  { name: "mlops:prediction_seconds:p99_5m", title: "p99 in a replica", format: (value) => `${formatScore(1000 * value)} ms` },
  { name: "mlops:prediction_error_ratio:5m", title: "Failed requests", format: (value) => `${formatScore(100 * value)} %` },
];

let shownFiguresAt = -Infinity;

// A path with a gap where there was no value, such as the p99 of no request. The lowest point is 0, so heights compare.
function drawPath(points, end) {
  const highest = Math.max(...points.map(([, value]) => value).filter(Number.isFinite), Number.MIN_VALUE);
  let command = "M";
  return points.map(([time, value]) => {
    if (!Number.isFinite(value)) {
      command = "M";
      return "";
    }
    const x = CHART.width * (1 - (end - time) / HOUR_SECONDS);
    const y = (CHART.height - 2) * (1 - value / highest) + 1;
    const part = `${command}${x.toFixed(1)} ${y.toFixed(1)}`;
    command = "L";
    return part;
  }).join("");
}

function makeFigureCard({ title, format }, points) {
  const card = document.querySelector("#figure-card").content.cloneNode(true);
  const values = points.map(([, value]) => value).filter(Number.isFinite);
  const newest = points.at(-1)[1];
  const now = Number.isFinite(newest) ? format(newest) : "no requests";
  card.querySelector("h3").textContent = title;
  card.querySelector(".now").textContent = values.length ? `${now}; at most ${format(Math.max(...values))}` : now;
  card.querySelector("svg").setAttribute("aria-label", `${title}, the last hour`);
  card.querySelector("path").setAttribute("d", drawPath(points, points.at(-1)[0]));
  return card;
}

async function checkFigures() {
  if (performance.now() - shownFiguresAt < FIGURES_MILLISECONDS) return;
  const section = document.querySelector("#figure-section");
  try {
    const answer = await get("status/figures");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const series = new Map((await answer.json()).data.result.map(({ metric, values }) => [
      metric.__name__, values.map(([time, value]) => [time, Number(value)]),
    ]));
    const cards = FIGURES.filter(({ name }) => series.get(name)?.length).map((figure) => makeFigureCard(figure, series.get(figure.name)));
    document.querySelector("#figure-list").replaceChildren(...cards);
    section.hidden = !cards.length;
    shownFiguresAt = performance.now();
  } catch {
    section.hidden = true;
  }
}
