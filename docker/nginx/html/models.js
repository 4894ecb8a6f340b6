// One card per model: the version that serves, the challenger and its share of requests, and the last rollout. Values of
// the registry are shown as text only: a writer of the registry could otherwise put markup into this page.
"use strict";

const RUNNING = ["validating", "canary", "analysing", "comparing", "awaiting approval", "promoting", "verifying"];
const SOMETIMES = ["comparing", "awaiting approval"];
const MOODS = { promoted: "up", "awaiting approval": "partly", inconclusive: "partly", compared: "partly", aborted: "down", "rolled back": "down" };
const VERBS = { rollout: "Rollout", rollback: "Rollback", ab: "A/B test", shadow: "Shadow" };
const FIGURES = ["live", "replayed", "failures", "p99_ms", "nan_rows"];

function describeServing(model, percent, isOpen) {
  if (!model.champion) return "No version answers yet";
  if (!isOpen) return `Version ${model.champion} answers every request`;
  return `Version ${model.champion} answers ${100 - percent} %, version ${model.challenger} is tried on ${percent} %`;
}

function describeRollout({ kind, from_version: from, to_version: to, state }) {
  const versions = from && from !== to ? `version ${from} \u2192 ${to}` : `version ${to}`;
  return `${VERBS[kind] ?? "Rollout"} of ${versions}: ${state}`;
}

function describeTest({ verdict, figures }) {
  if (!verdict) return "";
  const { experiment = {}, agreement = {} } = figures;
  const labelled = `${(experiment.rows ?? 0).toLocaleString()} labelled rows`;
  const needed = experiment.rows_needed ? ` of about ${experiment.rows_needed.toLocaleString()}` : "";
  const alike = agreement.rows ? `; ${(100 * agreement.alike).toFixed(1)} % of ${agreement.rows.toLocaleString()} predicted alike` : "";
  return `Compared with the champion: ${verdict}, by ${labelled}${needed}${alike}`;
}

function formatTime(text) {
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? "" : moment.toLocaleString();
}

function fillShare(share, model, percent, isOpen) {
  share.hidden = !model.champion;
  const [champion, challenger] = share.children;
  champion.textContent = `version ${model.champion}`;
  champion.style.flexGrow = isOpen ? 100 - percent : 100;
  challenger.textContent = `version ${model.challenger}`;
  challenger.style.flexGrow = percent;
  challenger.hidden = !isOpen;
}

function fillSteps(list, state) {
  list.hidden = !RUNNING.includes(state);
  const steps = RUNNING.filter((step) => !SOMETIMES.includes(step) || step === state);
  list.replaceChildren(...steps.map((step) => {
    const item = document.createElement("li");
    item.textContent = step;
    if (step === state) item.setAttribute("aria-current", "step");
    return item;
  }));
}

function fillFigures(table, figures) {
  table.hidden = !figures || !(figures.canary || figures.stable);
  if (table.hidden) return;
  const rows = ["canary", "stable"].filter((pool) => figures[pool]).map((pool) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = pool;
    row.append(head);
    for (const name of FIGURES) {
      const value = figures[pool][name];
      const text = typeof value === "number" ? value.toLocaleString() : "\u2013";
      row.insertCell().textContent = name === "p99_ms" && typeof value === "number" ? `${text} ms` : text;
    }
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
}

function fillRollout(part, rollout) {
  part.hidden = !rollout;
  if (!rollout) return;
  const verdict = part.querySelector(".verdict");
  verdict.dataset.health = MOODS[rollout.state] ?? "";
  verdict.querySelector("b").textContent = describeRollout(rollout);
  verdict.querySelector("span").textContent = formatTime(rollout.updated_at);
  fillSteps(part.querySelector(".steps"), rollout.state);
  const test = part.querySelector(".test");
  test.textContent = describeTest(rollout);
  test.hidden = !test.textContent;
  fillFigures(part.querySelector("table"), rollout.figures);
}

function makeModelCard(model, percent) {
  const card = document.getElementById("model-card").content.cloneNode(true).firstElementChild;
  const isOpen = Boolean(model.champion && model.challenger && new Date(model.canary_until) > new Date());
  card.querySelector("h3").textContent = model.name;
  card.querySelector(".serves").textContent = describeServing(model, percent, isOpen);
  fillShare(card.querySelector(".share"), model, percent, isOpen);
  fillLoop(card.querySelector(".state"), model.loop);
  fillRollout(card.querySelector(".rollout"), model.rollout);
  return card;
}

// A card is replaced only if it has changed, so that it keeps the focus and a screen reader does not repeat it.
const shownModels = new Map();

function showModelCards(models, percent) {
  const cards = document.getElementById("model-cards");
  const known = models.filter((model) => model.champion || model.rollout);
  const fresh = known.map((model) => {
    const isOpen = new Date(model.canary_until) > new Date();
    const key = JSON.stringify([model, percent, isOpen]);
    const shown = shownModels.get(model.name);
    if (shown?.key === key) return shown.card;
    const card = makeModelCard(model, percent);
    shownModels.set(model.name, { key, card });
    return card;
  });
  if (fresh.length !== cards.children.length || fresh.some((card, i) => card !== cards.children[i])) {
    cards.replaceChildren(...fresh);
  }
  return known.length;
}
