// What the loop knows of each model: quality by labels, missing labels, older versions, the last retraining and drift,
// from /status/loop.
// Values are shown as text only.
"use strict";

const DRIFT_WORDS = { clean: "none", drift: "drift", quality: "faults in the data", "no verdict": "too few rows to tell" };
const DRIFT_MOODS = { clean: "up", drift: "down", quality: "partly" };

function formatScore(value) {
  return typeof value === "number" ? value.toLocaleString(undefined, { maximumSignificantDigits: 3 }) : "\u2013";
}

function formatPercent(value) {
  return `${Math.round(100 * value)} %`;
}

function describeQuality(quality) {
  if (!quality) return "No closed window of answers yet";
  if (typeof quality.score !== "number") {
    const estimate = `estimated accuracy ${formatScore(quality.estimated_accuracy)}, if the labels' rule has not changed`;
    return typeof quality.estimated_accuracy === "number" ? `No label yet; ${estimate}` : "No label yet";
  }
  const hasInterval = typeof quality.low === "number" && typeof quality.high === "number";
  const interval = hasInterval ? ` (${formatScore(quality.low)} to ${formatScore(quality.high)})` : "";
  const holdout = typeof quality.holdout === "number" ? `; holdout ${formatScore(quality.holdout)}` : "";
  return `${quality.metric} ${formatScore(quality.score)}${interval}${holdout}`;
}

function describeLabels({ quality, labels }) {
  const parts = [];
  if (quality) {
    const few = quality.has_few_labels ? ", fewer than usual" : "";
    parts.push(`${formatPercent(quality.coverage)} of ${quality.rows.toLocaleString()} answers${few}`);
  }
  if (labels?.missing) parts.push(`${labels.missing.toLocaleString()} missing until a retraining`);
  else if (labels) parts.push("enough for a retraining");
  return parts.join("; ");
}

// The champion and older versions on the same newest labelled answers.
function describeStaleness(versions) {
  const older = versions?.slice(1) ?? [];
  if (!older.length) return "No older one measured yet";
  const texts = older.map(({ version, age_days: age, score }) => {
    const days = typeof age === "number" ? ` (${Math.round(age)} days old)` : "";
    return `${version}${days} ${typeof score === "number" ? formatScore(score) : "not comparable"}`;
  });
  return `${texts.join(", ")}; version ${versions[0].version} ${formatScore(versions[0].score)} on the same answers`;
}

function describeDrift(windows) {
  const newest = windows?.at(-1);
  if (!newest) return "No window judged yet";
  return `${DRIFT_WORDS[newest.verdict] ?? newest.verdict}, window to ${formatTime(newest.end)}`;
}

// One mark per window, the oldest first. Its height and its border tell the verdict too, not the colour alone.
function fillMarks(list, windows) {
  list.hidden = !windows?.length;
  list.replaceChildren(...(windows ?? []).map((window) => {
    const mark = document.createElement("li");
    const text = `${formatTime(window.end)}: ${DRIFT_WORDS[window.verdict] ?? window.verdict}`;
    mark.dataset.health = DRIFT_MOODS[window.verdict] ?? "";
    mark.title = text;
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", text);
    return mark;
  }));
}

function fillLoop(part, loop) {
  part.hidden = !loop;
  if (!loop) return;
  part.querySelector(".live").textContent = loop.problem ?? describeQuality(loop.quality);
  part.querySelector(".labels").textContent = loop.problem ? "" : describeLabels(loop);
  part.querySelector(".staleness").textContent = loop.problem ? "" : describeStaleness(loop.staleness);
  part.querySelector(".retraining").textContent = loop.problem ? "" : loop.retraining?.says ?? "None yet";
  part.querySelector(".drift span").textContent = loop.problem ? "" : describeDrift(loop.drift);
  fillMarks(part.querySelector(".marks"), loop.drift);
  const decline = part.querySelector(".verdict");
  decline.hidden = !loop.decline;
  decline.querySelector("span").textContent = loop.decline ?? "";
}
