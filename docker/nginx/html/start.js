// Fills the start page: which programs are up, their addresses, the models that serve (models.js, loop.js), alerts (alerts.js)
// and charts (figures.js). It refreshes every 5 seconds. A program that does not respond is shown as down and never stops the page.
"use strict";

const REFRESH_MILLISECONDS = 5000;
const TIMEOUT_MILLISECONDS = 4000;
const HEALTH_WORDS = { up: "up", partly: "partly up", down: "down" };

async function get(path) {
  return fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MILLISECONDS) });
}

function showHealth(program, health, detail) {
  const line = document.querySelector(`[data-program="${program}"] .health`);
  const text = HEALTH_WORDS[health] + (detail ? `: ${detail}` : "");
  line.dataset.health = health;
  // Only a change is written, so that a screen reader does not repeat the same text every 5 seconds.
  if (line.lastElementChild.textContent !== text) line.lastElementChild.textContent = text;
}

async function checkProgram(program) {
  try {
    const answer = await get(`status/${program}`);
    if (!answer.ok) return showHealth(program, "down");
    const sick = program === "airflow" ? findSickParts(await answer.json()) : [];
    showHealth(program, sick.length ? "partly" : "up", sick.length ? `no ${sick.join(", no ")}` : "");
  } catch {
    showHealth(program, "down");
  }
}

// Airflow returns 200 whatever the state of its parts, and lists them.
function findSickParts(parts) {
  return Object.keys(parts).filter((name) => parts[name].status && parts[name].status !== "healthy")
    .map((name) => name.replaceAll("_", " "));
}

async function checkModels() {
  try {
    const answer = await get("rollouts");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const { models, registry } = await answer.json();
    const states = await readLoop();
    for (const model of models) model.loop = states.get(model.name);
    const serving = models.filter((model) => model.champion).length;
    const lack = serving ? "MLflow cannot be read; the last versions serve" : "no model yet";
    showHealth("api", serving && registry.reachable ? "up" : "partly", serving && registry.reachable ? "" : lack);
    const shown = showModelCards(models, canaryPercent);
    showNoModels(shown ? "" : "No model serves yet. Trigger the DAG mlops_training_pipeline in Airflow; a version that passes the gate appears here.");
  } catch {
    showHealth("api", "down");
    showModelCards([], canaryPercent);
    showNoModels("No replica answers. They start after MLflow: docker compose ps serving serving-canary");
  }
}

// A page without these figures still shows the models.
async function readLoop() {
  try {
    const { models, disk } = await (await get("status/loop")).json();
    document.querySelector("#disk").textContent = disk ?? "";
    document.querySelector("#disk").hidden = !disk;
    return new Map(models.map((model) => [model.name, model]));
  } catch {
    return new Map();
  }
}

function showNoModels(text) {
  document.querySelector("#no-models").textContent = text;
  document.querySelector("#no-models").hidden = !text;
}

// Links lead to the host at which this page was opened, which may not be localhost.
async function showAddresses() {
  const { canary_percent: percent, tls, ...programs } = await (await get("stack.json")).json();
  canaryPercent = percent;
  for (const [program, { port }] of Object.entries(programs)) {
    const link = document.querySelector(`[data-program="${program}"] h3 a`);
    // With TLS=on every program has a name of its own at this port. A proxy that does TLS does it for the programs too.
    link.href = tls ? `https://${program}.${location.host}/` : `${location.protocol}//${location.hostname}:${port}/`;
  }
}

function showCommands() {
  const start = `curl -X POST ${location.origin}/predict -H "Content-Type: application/json" -d`;
  const row = { sepal_length: 5.1, sepal_width: 3.5, petal_length: 1.4, petal_width: 0.2 };
  document.querySelector("#curl-array").textContent = `${start} '[[5.1, 3.5, 1.4, 0.2]]'`;
  document.querySelector("#curl-object").textContent = `${start} '${JSON.stringify([row])}'`;
}

async function copyCommand(button) {
  const code = document.getElementById(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(code.textContent);
    document.querySelector("#copied").textContent = "Copied.";
  } catch {
    // Browsers deny the clipboard to a page that another host served over plain HTTP.
    getSelection().selectAllChildren(code);
    document.querySelector("#copied").textContent = "Selected: copy it with the keyboard.";
  }
}

let areAddressesShown = false;
let canaryPercent = 0;

async function refresh() {
  if (!areAddressesShown) {
    areAddressesShown = await showAddresses().then(() => true, () => false);
  }
  await Promise.all([checkModels(), checkAlerts(), checkFigures(), ...["airflow", "mlflow", "minio"].map(checkProgram)]);
  setTimeout(refresh, REFRESH_MILLISECONDS);
}

showCommands();
for (const button of document.querySelectorAll("button[data-copies]")) {
  button.addEventListener("click", () => copyCommand(button));
}
refresh();
