// Alerts that fire, and those that ended within a day, from /status/alerts. Without the profile observability there is no
// Prometheus, and the section stays hidden. Values are shown as text only.
"use strict";

const HIDDEN_LABELS = new Set(["__name__", "alertname", "alertstate", "severity", "instance", "job", "verdict"]);
const MOODS = { critical: "down", warning: "partly" };

let shownAlerts = "";

// One entry per alert and what it is about; what fires comes first, then what ended last.
function listAlerts(series) {
  const found = new Map();
  for (const { metric, value } of series) {
    const about = Object.keys(metric).filter((name) => !HIDDEN_LABELS.has(name)).sort().map((name) => metric[name]);
    const key = [metric.alertname, ...about].join(" ");
    const alert = found.get(key) ?? { name: metric.alertname, about, severity: metric.severity, isFiring: false, firedAt: 0 };
    if (metric.__name__ === "ALERTS") alert.isFiring = true;
    else alert.firedAt = Number(value[1]);
    found.set(key, alert);
  }
  return [...found.values()].sort((one, other) => other.isFiring - one.isFiring || other.firedAt - one.firedAt);
}

function describeAlert({ about, isFiring, firedAt }) {
  const subject = about.length ? ` ${about.join(", ")}` : "";
  return `${subject}: ${isFiring ? "fires" : `ended, last fired ${formatTime(firedAt * 1000)}`}`;
}

function showAlertList(alerts) {
  const items = alerts.map((alert) => {
    const item = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = alert.name;
    item.dataset.health = alert.isFiring ? MOODS[alert.severity] ?? "partly" : "up";
    item.append(document.createElement("i"), name, describeAlert(alert));
    return item;
  });
  const text = items.map((item) => item.textContent).join("\n");
  // Only a change is written, so that a screen reader does not repeat the same text every 5 seconds.
  if (text !== shownAlerts) document.querySelector("#alert-list").replaceChildren(...items);
  shownAlerts = text;
  document.querySelector("#no-alerts").hidden = Boolean(alerts.length);
}

async function checkAlerts() {
  const section = document.querySelector("#alert-section");
  try {
    const answer = await get("status/alerts");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    showAlertList(listAlerts((await answer.json()).data.result));
    section.hidden = false;
  } catch {
    section.hidden = true;
  }
}
