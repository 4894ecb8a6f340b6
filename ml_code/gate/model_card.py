"""A model card for MLflow: data, metrics, limits and decision of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ml_code.dataset_rules import METRICS
from ml_code.datasets import Dataset
from ml_code.gate.decision import Decision, verdict
from ml_code.gate.evidence import Slice
from ml_code.gate.slices import list_counting
from ml_code.markdown import escape, quote_code

SHOWN_SLICES = 5


def write_card(
    dataset: Dataset,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    decision: Decision,
    *,
    slices: Sequence[Slice],
) -> str:
    """Writes the card as Markdown.

    Args:
        dataset: dataset of the model.
        tags: tags of the run.
        params: parameters of the run.
        metrics: metrics of the run, with `<metric>_low` and `<metric>_high`; absent ones are left out.
        decision: decision of the gate.
        slices: quality of the holdout's parts, the worst one first.
    """
    lines = [_describe_metric(name, metrics) for name in METRICS[dataset.task] if name in metrics]
    return "\n".join(
        [
            f"# {dataset.name}: {params['estimator']}",
            "",
            f"{escape(dataset.description or dataset.target)}. Predicts {quote_code(dataset.target)} ({dataset.task}).",
            "",
            "## Data",
            f"- version `{tags['dataset_version']}`, {tags['snapshot_uri']}",
            f"- {params['train_rows']} rows to train on, {params['holdout_rows']} held out "
            f"(rule `{tags['holdout_id']}`, {dataset.holdout.share:.0%})",
            f"- numbers: {_list_names(dataset.numeric)}",
            f"- categories: {_list_names(dataset.categorical)}",
            "",
            "## Metrics on the holdout",
            "| metric | value | 95 % interval |",
            "|---|---|---|",
            *lines,
            "",
            *_describe_slices(dataset, slices),
            "## Gate",
            f"{escape(verdict(decision))}.",
            *([f"Warning: {escape(decision.warning)}."] if decision.warning else []),
            *_describe_rivals(decision),
            "",
            "## Limits",
            *_describe_limits(dataset),
            "",
            "## How it was made",
            f"- {params['model_type']} with {quote_code(params['hyperparameters'])}, seed {params['seed']}",
            f"- code {tags['git_commit']}",
            "",
        ]
    )


def _list_names(names: Sequence[object]) -> str:
    """Names of people, as code: a comma in one of them does not separate."""
    return ", ".join(map(quote_code, names)) or "none"


def _describe_metric(name: str, metrics: Mapping[str, float]) -> str:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    interval = "-" if low is None or high is None else f"{low:.4g} to {high:.4g}"
    return f"| {name} | {metrics[name]:.4g} | {interval} |"


def _describe_slices(dataset: Dataset, slices: Sequence[Slice]) -> list[str]:
    least = dataset.gate.slice_rows
    shown = list_counting(slices, least)[:SHOWN_SLICES]
    if not shown:
        return []
    rows = [f"| {escape(part.name)} | {part.rows} | {part.score:.4g} |" for part in shown]
    title = f"## Worst parts of the holdout (of at least {least} rows; all of them in `slices.json`)"
    return [title, f"| part | rows | {dataset.gate.metric} |", "|---|---|---|", *rows, ""]


def _describe_rivals(decision: Decision) -> list[str]:
    scores = {
        "this model": decision.score,
        "a constant (most frequent class, or mean)": decision.baseline_dummy,
        "a linear model": decision.baseline_linear,
        f"champion, version {decision.champion_version}": decision.champion_score,
        f"best champion so far, version {decision.best_version}": decision.best_score,
    }
    rows = [f"| {name} | {score:.4g} |" for name, score in scores.items() if score is not None]
    return ["", f"| model | score ({decision.metric}) |", "|---|---|", *rows]


def _describe_limits(dataset: Dataset) -> list[str]:
    """The ranges of the checks: outside of them the model was neither trained nor measured."""
    lines = []
    for name in dataset.features:
        check = dataset.checks.columns.get(name)
        if check is None:
            continue
        low = "" if check.minimum is None else f"from {check.minimum:g} "
        high = "" if check.maximum is None else f"to {check.maximum:g}"
        allowed = "" if check.allowed is None else f"one of {_list_names(check.allowed)}"
        lines.append(f"- {quote_code(name)} {f'{low}{high}'.strip() or allowed or 'unchecked'}")
    return [*lines, "- A gap counts as the median of its column; an unknown category counts as none of the known ones."]
