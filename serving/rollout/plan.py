"""Decides which version a rollout takes to the replicas, and makes the row of it: one active row per model."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ml_code.signature import APPROVABLE
from serving.errors import FrozenModelError, NoCandidateError, NothingNewError, UnderWayError
from serving.registry.names import CHAMPION
from serving.rollout.control import RolloutControl
from serving.rollout.held import HeldRollout
from serving.rollout.rollback import finish_rollback, note_moves_by_hand
from serving.rollout.rows import MOVING, TESTS, Rollout

WAIT_SECONDS = 2.0

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Choice:
    """The version that serves, if any, and the one that shall serve."""

    champion: str | None
    target: str


def choose_version(control: RolloutControl, model: str, version: str | None = None) -> Choice:
    """Decides what to roll out: the requested version, or the newest that passed the gate.

    Raises:
        NoCandidateError: no version of the model has passed the gate, or the requested one has not.
        FrozenModelError: no version was requested, and a person has frozen the model.
        NothingNewError: the version serves already.
    """
    registry = control.registry
    # Found out here, because `promote` moves `previous` first: the way back would be lost for a version that is not.
    if version and (registry.read_tags(model, version) or {}).get("gate") not in APPROVABLE:
        raise NoCandidateError(
            f"{model}: found no version {version} with the tag gate=passed and the gate's signature, expected one; "
            f"train again by `mlops train`, or `mlops promote {model} {version}` serves it in your name"
        )
    champion = registry.read(model).get(CHAMPION)
    newest = control.find_newest_passed(model)
    # Without a request, no rollout goes back: a champion that a person chose over the newest stays.
    unasked = champion if champion and (newest is None or int(newest) < int(champion)) else newest
    target = version or unasked
    if target is None:
        raise NoCandidateError(
            f"{model}: found no version with the tag gate=passed and the gate's signature, expected one; train one by "
            "`mlops train`, or request one by its number, so that a person approves it"
        )
    if target == champion:
        raise NothingNewError(f"{model}: found version {target} serving already, expected a newer one; nothing to do")
    if version is None and (freeze := control.log.find_freeze(model)):
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
        with control.lock(model) as locked:
            active = locked.find_active(model)
            if active is None:
                return _open(locked, model, version)
            if first is None or first.rollout_id != active.row.rollout_id:
                first = active.row
            if _claim(active, version, first):
                return active.row
        control.pause(WAIT_SECONDS)


def _open(control: RolloutControl, model: str, version: str | None) -> Rollout:
    note_moves_by_hand(control, model)
    choice = choose_version(control, model, version)
    opened = control.open(model, "rollout", from_version=choice.champion, to_version=choice.target, state="validating")
    logger.info("%s: opened", opened.row.name)
    opened.tell()
    return opened.row


def _claim(held: HeldRollout, version: str | None, first: Rollout) -> bool:
    """Takes over, settles or aborts an active row; False where the caller must wait, or the model has none now."""
    control, active = held.control, held.row
    if _is_taken_back(held):
        settle(held)
        return False
    if active.owner == control.owner and active.kind == "rollout":
        held.take_over()
        return True
    wanted = version or control.find_newest_passed(active.model)
    if active.is_expired:
        if active.kind == "rollout" and wanted == active.to_version:
            held.take_over()
            return True
        settle(held)
    elif active.kind in TESTS:
        _replace_test(held, version)
    elif active.kind == "rollout" and active.state not in MOVING:
        _replace(held, version, wanted, first)
    return False


def _replace_test(held: HeldRollout, version: str | None) -> None:
    """Aborts an A/B test or a shadow whose place a version takes that a person requests.

    Raises:
        UnderWayError: nobody requests a version; the end of the test starts a rollout of what is newer by then.
    """
    control, active = held.control, held.row
    if version is None:
        raise UnderWayError(
            f"{active.name}: found it {active.state} by {active.owner}, expected no test; a newer version waits "
            "for its end, and one that is requested by its number takes its place"
        )
    choose_version(control, active.model, version)  # raises where no version takes its place
    held.abort(f"version {version} takes its place ({control.who})", is_verdict=False)


def _replace(held: HeldRollout, version: str | None, wanted: str | None, first: Rollout) -> None:
    """Aborts a living rollout whose place the wanted version takes; returns where the caller must wait.

    Raises:
        UnderWayError: another run rolls out the same version, or a newer one.
    """
    control, active = held.control, held.row
    is_waiting = active.state == "awaiting approval"
    # Nobody can tell whether a run that waits for days is still there, so a request by number starts again.
    if wanted == active.to_version and not (is_waiting and version):
        if is_waiting or active.lease_until > first.lease_until:
            raise UnderWayError(
                f"{active.name}: found it {active.state} by {active.owner}, expected no other; "
                + (f"decide there, or request version {wanted} by its number" if is_waiting else "nothing to do")
            )
        return
    if version is None and (wanted is None or int(wanted) < int(active.to_version)):
        raise UnderWayError(f"{active.name}: found it {active.state} by {active.owner}, which is newer; nothing to do")
    choose_version(control, active.model, version)  # raises where no version takes its place
    held.abort(f"version {wanted} takes its place ({control.who})", is_verdict=False)


def _is_taken_back(held: HeldRollout) -> bool:
    """Whether the log has its version taken back while its row goes on: whoever did it lost the lock before the end."""
    last = held.control.log.find_last_move(held.row.model)
    return (
        last is not None
        and held.row.kind == "rollout"
        and (last.rollout_id, last.action) == (held.row.rollout_id, "rollback")
    )


def settle(held: HeldRollout) -> None:
    """Ends a row whose run is gone, by the state that it reached; the caller holds the model's lock."""
    active = held.row
    if active.kind == "rollback":
        finish_rollback(held)
    elif (
        active.kind == "rollout"
        and held.control.registry.read(active.model).get(CHAMPION) == active.to_version
        and not _is_taken_back(held)
    ):
        held.close_canary()
        held.take_over()
        held.finish("its run was interrupted after its version had become the champion")
    else:
        held.abort(f"its run ({active.owner}) was interrupted", state="inconclusive", is_verdict=False)
