"""Decides which version a rollout takes to the replicas, and makes the row of it: one active row per model."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from serving.errors import FrozenModelError, NoCandidateError, NothingNewError, UnderWayError
from serving.registry.names import CHAMPION
from serving.registry.writer import RegistryWriter
from serving.rollout.control import RolloutControl, open_row, tell
from serving.rollout.outcome import abort_held, close_canary, finish, note_moves_by_hand
from serving.rollout.promotion_log import PromotionLog
from serving.rollout.rollback import finish_rollback
from serving.rollout.rows import MOVING, Rollout

APPROVABLE = frozenset({"passed", "needs_approval"})
"""Values of a version's tag `gate` with which it may be rolled out when it is requested by its number."""

WAIT_SECONDS = 2.0

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Choice:
    """The version that serves, if any, and the one that shall serve."""

    champion: str | None
    target: str


def choose_version(registry: RegistryWriter, log: PromotionLog, model: str, version: str | None = None) -> Choice:
    """Decides what to roll out: the requested version, or the newest that passed the gate.

    Raises:
        NoCandidateError: no version of the model has passed the gate, or the requested one has not.
        FrozenModelError: no version was requested, and a person has frozen the model.
        NothingNewError: the version serves already.
    """
    # Found out here, because `promote` moves `previous` first: the way back would be lost for a version that is not.
    if version and (registry.read_tags(model, version) or {}).get("gate") not in APPROVABLE:
        raise NoCandidateError(
            f"{model}: found no version {version} with the tag gate=passed, expected one; leave the version empty for "
            "the newest, or set the tag in MLflow if you vouch for it"
        )
    champion = registry.read(model).get(CHAMPION)
    newest = registry.find_newest_passed(model)
    # Without a request, no rollout goes back: a champion that a person chose over the newest stays.
    unasked = champion if champion and (newest is None or int(newest) < int(champion)) else newest
    target = version or unasked
    if target is None:
        raise NoCandidateError(
            f"{model}: found no version with the tag gate=passed, expected one; run mlops_training_pipeline first"
        )
    if target == champion:
        raise NothingNewError(f"{model}: found version {target} serving already, expected a newer one; nothing to do")
    if version is None and (freeze := log.find_freeze(model)):
        raise FrozenModelError(
            f"{model}: found it frozen by {freeze.who} ({freeze.why}), expected no freeze; version {target} waits: "
            f"`mlops unfreeze {model}`, or `mlops promote {model} {target}`"
        )
    return Choice(champion, target)


def open_rollout(control: RolloutControl, model: str, version: str | None = None) -> Rollout:
    """Makes the row of a rollout, or takes over an interrupted one; the newest wins.

    Cancels a rollout of an older version. Where a person requests a version, it cancels any other rollout, and one of
    the same version that awaits approval. Waits for one that moves the aliases: for seconds, or until its lease ends.

    Raises:
        NoCandidateError: no version may be rolled out.
        StandsAsideError: there is nothing to do.
    """
    version = version or None  # an emptied field of the form is ""
    first: Rollout | None = None
    while True:
        with control.rows.lock(model):
            active = control.rows.find_active(model)
            if active is None:
                return _open(control, model, version)
            if first is None or first.rollout_id != active.rollout_id:
                first = active
            opened = _claim(control, active, version, first)
        if opened is not None:
            return opened
        control.pause(WAIT_SECONDS)


def _open(control: RolloutControl, model: str, version: str | None) -> Rollout:
    note_moves_by_hand(control, model)
    choice = choose_version(control.registry, control.log, model, version)
    opened = open_row(
        control, model, "rollout", from_version=choice.champion, to_version=choice.target, state="validating"
    )
    logger.info("%s: opened", opened.name)
    tell(control, opened)
    return opened


def _claim(control: RolloutControl, active: Rollout, version: str | None, first: Rollout) -> Rollout | None:
    """Takes over, settles or aborts an active row; None where the caller must wait, or the model has none now."""
    if active.owner == control.owner and active.kind == "rollout":
        return _take_over(control, active)
    wanted = version or control.registry.find_newest_passed(active.model)
    if active.is_expired:
        if active.kind == "rollout" and wanted == active.to_version:
            return _take_over(control, active)
        settle(control, active)
        return None
    if active.kind != "rollout" or active.state in MOVING:
        return None
    is_waiting = active.state == "awaiting approval"
    # Nobody can tell whether a run that waits for days is still there, so a request by number starts again.
    if wanted == active.to_version and not (is_waiting and version):
        if is_waiting or active.lease_until > first.lease_until:
            raise UnderWayError(
                f"{active.name}: found it {active.state} by {active.owner}, expected no other; "
                + (f"decide there, or request version {wanted} by its number" if is_waiting else "nothing to do")
            )
        return None
    if version is None and (wanted is None or int(wanted) < int(active.to_version)):
        raise UnderWayError(f"{active.name}: found it {active.state} by {active.owner}, which is newer; nothing to do")
    choose_version(control.registry, control.log, active.model, version)  # raises where no version would take its place
    abort_held(control, active, f"version {wanted} takes its place ({control.owner})", is_verdict=False)
    return None


def settle(control: RolloutControl, active: Rollout) -> None:
    """Ends a row whose run is gone, by the state that it reached; the caller holds the model's lock."""
    if active.kind == "rollback":
        finish_rollback(control, active)
    elif active.kind == "rollout" and control.registry.read(active.model).get(CHAMPION) == active.to_version:
        close_canary(control.registry, active)
        finish(
            control, _take_over(control, active), "its run was interrupted after its version had become the champion"
        )
    else:
        abort_held(control, active, f"its run ({active.owner}) was interrupted", is_verdict=False)


def _take_over(control: RolloutControl, active: Rollout) -> Rollout:
    taken = control.rows.write(
        active.rollout_id, lease_seconds=control.lease_seconds, owner=control.owner, run_url=control.run_url
    )
    assert taken is not None  # noqa: S101  the caller holds the lock, and it was active
    if active.owner != control.owner:
        logger.info("%s: taken over in the state %s from %s", taken.name, taken.state, active.owner)
    return taken
