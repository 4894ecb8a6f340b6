"""A model card for MLflow: data, metrics, limits and decision of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ml_code.datasets import METRICS, Dataset
from ml_code.gate.decision import Decision, verdict
from ml_code.markdown import escape, quote_code


def write_card(
    dataset: Dataset,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    decision: Decision,
) -> str:
    """Writes the card as Markdown.

    Args:
        dataset: dataset of the model.
        tags: tags of the run.
        params: parameters of the run.
        metrics: metrics of the run, with `<metric>_low` and `<metric>_high`; absent ones are left out.
        decision: decision of the gate.
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
            "## Gate",
            f"{escape(verdict(decision))}.",
            *([f"The decision is {escape(decision.warning)}."] if decision.warning else []),
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
