"""The step in which a person decides, with what they need to see; the canary is closed meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_code.datasets import load_catalog, load_dataset
from ml_code.gate.decision import Decision
from ml_code.signature import APPROVABLE, APPROVED, FORGED, SIGNED, UNSIGNED
from serving.comparison.limits import Limits, choose_limits
from serving.errors import BreachError
from serving.rollout.control import RolloutControl
from serving.rollout.held import HeldRollout
from serving.rollout.rows import MOVING, Rollout
from serving.settings import RolloutSettings

APPROVED_BY = "approved_by"
"""Tag of a version: who approved it."""

FIGURES = {
    "live": "requests of people",
    "replayed": "replayed requests",
    "failures": "failures",
    "p99_ms": "p99, ms",
    "nan_rows": "rows without a number",
}


def read_limits(control: RolloutControl, rollout_id: int, form: Mapping[str, Any]) -> Limits:
    """The limits of a rollout's canary: the catalog's, with the values of the form."""
    model = control.rows.read(rollout_id).model
    name = load_catalog(control.catalog_dir).list_models()[model]
    return choose_limits(load_dataset(name, control.catalog_dir).canary, form)


def needs_approval(control: RolloutControl, rollout_id: int, *, is_asked_for: bool = False) -> bool:
    """Whether a person must approve: the form or the catalog requires it, or the gate did not pass the version."""
    rollout = control.read_own(rollout_id).row
    if rollout.state in MOVING:
        return False
    tags = control.registry.read_tags(rollout.model, rollout.to_version) or {}
    name = load_catalog(control.catalog_dir).list_models()[rollout.model]
    is_forced = _find_forcer(tags) is not None and _find_approver(control, rollout, tags) is None
    is_undecided = is_forced or tags.get("gate") in {"needs_approval", UNSIGNED}
    return is_asked_for or is_undecided or load_dataset(name, control.catalog_dir).require_approval


def refuse_unapproved(held: HeldRollout, *, is_asked_for: bool = False) -> None:
    """Refuses a version on which a person must decide and has not: the task that asks may be marked as successful.

    Raises:
        BreachError: so it is; the rollout has ended.
    """
    row = held.row
    if row.state != "awaiting approval" and not needs_approval(held.control, row.rollout_id, is_asked_for=is_asked_for):
        return
    reason = "not approved: found no decision of a person, expected one by the task `approve`"
    held.abort(reason, is_verdict=False)
    raise BreachError(f"{row.name}: {reason}; start the rollout again and decide there")


def refuse_unjudged(held: HeldRollout) -> None:
    """Refuses a version that no canary has judged though there is one; a person may have marked that task instead.

    Raises:
        BreachError: so it is; the rollout has ended.
    """
    row = held.row
    if row.from_version is None or not held.control.fleet.has_canary_pool or "canary" in row.figures:
        return
    reason = "not judged: found no figures of a canary, expected those of the task `analyse_canary`"
    held.abort(reason, is_verdict=False)
    raise BreachError(f"{row.name}: {reason}; start the rollout again")


def ask_person(
    control: RolloutControl, rollout_id: int, wait_seconds: float, looser: Sequence[str] = ()
) -> tuple[str, str]:
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
    asked = [f"**Looser than the catalog**, by {rollout.who or 'a form'}: {', '.join(looser)}", ""] if looser else []
    lines = [*asked, *describe_gate(tags), *describe_canary(rollout), *_list_links(rollout, settings)]
    return f"{rollout.model}: version {rollout.from_version or 'none'} -> {rollout.to_version}?", "\n".join(lines)


def list_askers(control: RolloutControl, rollout_id: int, starter: str | None, looser: Sequence[str]) -> set[str]:
    """Who asked for what the catalog does not give: in the rollout's form, or by forcing the version past the gate."""
    row = control.read_own(rollout_id).row
    tags = control.registry.read_tags(row.model, row.to_version) or {}
    return {person for person in (starter if looser else None, _find_forcer(tags)) if person}


def refuse_asker(control: RolloutControl, rollout_id: int, person: str, askers: Collection[str]) -> None:
    """Refuses an approval by a person who asked for it; the first administrator, who may make users, is exempt.

    Raises:
        BreachError: the person asked for it; the rollout has ended.
    """
    if person not in askers or person == RolloutSettings().admin_username:
        return
    reason = f"approved by {person}, who asked for a looser value than the catalog's; another person must approve it"
    with control.hold(rollout_id) as held:
        held.abort(reason, is_verdict=False)
    raise BreachError(f"{held.row.name}: {reason}: start the rollout again")


def approve(control: RolloutControl, rollout_id: int, person: str, looser: Sequence[str] = ()) -> None:
    """Continues the rollout; a version on which the gate could not decide counts as passed from now on."""
    with control.hold(rollout_id) as held:
        sign_gate(held, "passed")
        _sign_approval(held, person)
        held.control.registry.tag(held.row.model, held.row.to_version, "gate", "passed")
        why = f"approved by {person}{f', with {", ".join(looser)}' if looser else ''}"
        held.note(state="promoting", reason=f"{describe_success(held.row)}; {why}")


def sign_gate(held: HeldRollout, gate: str) -> None:
    """Signs an outcome of a version, with the file that it has; one whose tags were forged stays so."""
    control, row = held.control, held.row
    tags = control.registry.read_tags(row.model, row.to_version) or {}
    if control.signer is not None and tags.get("gate") in APPROVABLE:
        token = control.signer.sign_version(row.model, row.to_version, {**tags, "gate": gate})
        control.registry.tag(row.model, row.to_version, SIGNED, token)


def _sign_approval(held: HeldRollout, person: str) -> None:
    control, row = held.control, held.row
    control.registry.tag(row.model, row.to_version, APPROVED_BY, person)
    if control.signer is not None:
        tags = control.registry.read_tags(row.model, row.to_version) or {}
        token = control.signer.sign_approval(row.model, row.to_version, person, tags)
        control.registry.tag(row.model, row.to_version, APPROVED, token)


def _find_approver(control: RolloutControl, row: Rollout, tags: Mapping[str, str]) -> str | None:
    """Who approved the version as it is; a name that nobody signed is nobody's approval."""
    if control.signer is None:
        return tags.get(APPROVED_BY)
    return control.signer.read_approver(row.model, row.to_version, tags)


def refuse_forged(row: Rollout, tags: Mapping[str, str]) -> None:
    """Refuses a version whose tags are not those that were signed."""
    if tags.get("gate") == FORGED:
        raise BreachError(
            f"{row.name}: not signed: found other tags than those that the gate signed, expected the same; train again "
            f"by `mlops train`, or `mlops promote {row.model} {row.to_version}` serves it in your name"
        )


def refuse_unsigned(held: HeldRollout) -> None:
    """Refuses a version that neither the gate nor a person has signed as passed."""
    row, control = held.row, held.control
    gate = (control.registry.read_tags(row.model, row.to_version) or {}).get("gate")
    if control.signer is None or gate == "passed":
        return
    reason = f"not signed: found gate={gate}, expected the signature of the gate or of a person's approval"
    held.abort(reason, is_verdict=False)
    raise BreachError(f"{row.name}: {reason}; train again by `mlops train`, or request it by its number and approve it")


def reject(control: RolloutControl, rollout_id: int, person: str) -> BreachError:
    """Ends the rollout; returns the error that describes it."""
    breach = BreachError(f"rejected by {person}")
    control.abort(rollout_id, breach)
    return breach


def describe_gate(tags: dict[str, str]) -> list[str]:
    """The figures of both versions on the holdout, as Markdown; of an unsigned version they may be anybody's."""
    if "gate.decision" not in tags:
        return ["The gate has not judged this version.", ""]
    doubt = ["**Not signed by the gate**: anybody who writes in MLflow may have written these figures.", ""]
    decision = Decision.from_json(tags["gate.decision"])
    before = "none" if decision.champion_score is None else f"{decision.champion_score:.4g}"
    return [
        *(doubt if tags.get("gate") == UNSIGNED else []),
        f"**Gate**: {decision.reason}{f' ({decision.warning})' if decision.warning else ''}",
        "",
        f"| {decision.metric} on {decision.holdout_rows} holdout rows | |",
        "|---|---|",
        f"| new version | {decision.score:.4g} |",
        f"| champion | {before} |",
        f"| threshold | {decision.threshold:.4g} |",
        "",
    ]


def describe_success(rollout: Rollout) -> str:
    """Why a version is promoted."""
    canary = rollout.figures.get("canary")
    if canary is None:
        return "the first version" if rollout.from_version is None else "its file is sound"
    seen = f"{canary['live']} live and {canary['replayed']} replayed requests"
    return f"its canary did as well as version {rollout.from_version} in {seen}"


def describe_canary(rollout: Rollout) -> list[str]:
    """The canary's figures beside the stable version's, as Markdown."""
    canary, stable = rollout.figures.get("canary"), rollout.figures.get("stable")
    if canary is None or stable is None:
        return ["**Canary**: none; it is the first version, or there is no canary pool.", ""]
    rows = [f"| {text} | {canary.get(name)} | {stable.get(name)} |" for name, text in FIGURES.items()]
    return ["**Canary**, closed until you decide:", "", "| | new | champion |", "|---|---|---|", *rows, ""]


def _find_forcer(tags: Mapping[str, str]) -> str | None:
    """Whose form forced the version past the gate; None for one that passed, or was forced at a shell."""
    return Decision.from_json(tags["gate.decision"]).forced_by if "gate.decision" in tags else None


def _list_links(rollout: Rollout, settings: RolloutSettings) -> list[str]:
    mlflow, page = settings.mlflow_public_url, settings.gateway_public_url
    links = (
        [f"[the version in MLflow]({mlflow}/#/models/{rollout.model}/versions/{rollout.to_version})"] if mlflow else []
    )
    links += [f"[what serves now]({page}/)"] if page else []
    return [" · ".join(links)] if links else []
