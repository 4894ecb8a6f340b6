"""The step in which a person decides, with what they need to see; the canary is closed meanwhile."""

from __future__ import annotations

from ml_code.datasets import load_catalog, load_dataset
from ml_code.gate.decision import Decision
from serving.errors import BreachError
from serving.rollout.control import RolloutControl
from serving.rollout.rows import MOVING, Rollout
from serving.settings import RolloutSettings

FIGURES = {
    "live": "requests of people",
    "replayed": "replayed requests",
    "failures": "failures",
    "p99_ms": "p99, ms",
    "nan_rows": "rows without a number",
}


def needs_approval(control: RolloutControl, rollout_id: int, *, is_asked_for: bool = False) -> bool:
    """Whether a person must approve: the rollout or the catalog requires it, or the gate could not decide."""
    rollout = control.read_own(rollout_id).row
    if rollout.state in MOVING:
        return False
    tags = control.registry.read_tags(rollout.model, rollout.to_version) or {}
    name = load_catalog(control.catalog_dir).list_models()[rollout.model]
    return (
        is_asked_for or tags.get("gate") == "needs_approval" or load_dataset(name, control.catalog_dir).require_approval
    )


def ask_person(control: RolloutControl, rollout_id: int, wait_seconds: float) -> tuple[str, str]:
    """Closes the canary, makes the rollout wait, and returns headline and text of the question, as Markdown.

    No task watches the canary during the wait, so it is closed. No task renews the lease either: it lasts as long as
    the person may take.
    """
    with control.hold(rollout_id) as held:
        held.close_canary()
        held.note(state="awaiting approval", reason="a person decides, in Airflow")
        control.rows.write(rollout_id, lease_seconds=wait_seconds)
    rollout, settings = held.row, RolloutSettings()
    tags = control.registry.read_tags(rollout.model, rollout.to_version) or {}
    lines = [*describe_gate(tags), *describe_canary(rollout), *_list_links(rollout, settings)]
    return f"{rollout.model}: version {rollout.from_version or 'none'} -> {rollout.to_version}?", "\n".join(lines)


def approve(control: RolloutControl, rollout_id: int, person: str) -> None:
    """Continues the rollout; a version on which the gate could not decide counts as passed from now on."""
    with control.hold(rollout_id) as held:
        held.control.registry.tag(held.row.model, held.row.to_version, "approved_by", person)
        held.control.registry.tag(held.row.model, held.row.to_version, "gate", "passed")
        held.note(reason=f"approved by {person}")


def reject(control: RolloutControl, rollout_id: int, person: str) -> BreachError:
    """Ends the rollout; returns the error that describes it."""
    breach = BreachError(f"rejected by {person}")
    control.abort(rollout_id, breach)
    return breach


def describe_gate(tags: dict[str, str]) -> list[str]:
    """The figures of both versions on the holdout, as Markdown."""
    if "gate.decision" not in tags:
        return ["The gate has not judged this version.", ""]
    decision = Decision.from_json(tags["gate.decision"])
    before = "none" if decision.champion_score is None else f"{decision.champion_score:.4g}"
    return [
        f"**Gate**: {decision.reason}{f' ({decision.warning})' if decision.warning else ''}",
        "",
        f"| {decision.metric} on {decision.holdout_rows} holdout rows | |",
        "|---|---|",
        f"| new version | {decision.score:.4g} |",
        f"| champion | {before} |",
        f"| threshold | {decision.threshold:.4g} |",
        "",
    ]


def describe_canary(rollout: Rollout) -> list[str]:
    """The canary's figures beside the stable version's, as Markdown."""
    canary, stable = rollout.figures.get("canary"), rollout.figures.get("stable")
    if canary is None or stable is None:
        return ["**Canary**: none; it is the first version, or there is no canary pool.", ""]
    rows = [f"| {text} | {canary.get(name)} | {stable.get(name)} |" for name, text in FIGURES.items()]
    return ["**Canary**, closed until you decide:", "", "| | new | champion |", "|---|---|---|", *rows, ""]


def _list_links(rollout: Rollout, settings: RolloutSettings) -> list[str]:
    mlflow, page = settings.mlflow_public_url, settings.gateway_public_url
    links = (
        [f"[the version in MLflow]({mlflow}/#/models/{rollout.model}/versions/{rollout.to_version})"] if mlflow else []
    )
    links += [f"[what serves now]({page}/)"] if page else []
    return [" · ".join(links)] if links else []
