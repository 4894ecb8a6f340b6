"""Returns to the version before, or to any other that a person names, at once and whatever is under way."""

from __future__ import annotations

import logging

from serving.errors import NoCandidateError, RolledBackError
from serving.registry.names import CHAMPION, PREVIOUS, ROLLED_BACK
from serving.rollout.control import RolloutControl
from serving.rollout.fence import guard
from serving.rollout.held import LONGEST_REASON, HeldRollout
from serving.rollout.promotion_log import Move
from serving.rollout.rows import MOVING, Rollout

GUARD_SECONDS = 20.0
"""Time after a rollback in which a promotion that it cancelled midway may still come late."""

logger = logging.getLogger("serving")


def roll_back(control: RolloutControl, model: str, why: str) -> Rollout:
    """Makes the version before the champion again; tags the one that served, so that it is not picked automatically.

    Cancels a rollout that is under way; takes back one that has begun to move the aliases. Points `previous` at the
    version before the one that then serves; deletes it where the log has none. A task that is retried after its
    rollback changes nothing more; a person who repeats theirs goes back one more version.

    Raises:
        NoCandidateError: there is no version before.
        RolledBackError: another rollback was faster.
    """
    seen = control.log.find_last_move(model)
    with control.lock(model) as locked:
        # A person is the same owner every time; each run is an owner of its own.
        if control.run_url and (done := control.rows.find_rollback(model, control.owner)):
            return done
        active = locked.find_active(model)
        if active is not None and active.row.kind == "rollback":  # an interrupted one
            return finish_rollback(active)
        _refuse_second(locked, model, seen)
        note_moves_by_hand(locked, model)
        bad, target = _find_way_back(locked, model, active.row if active else None)
        late = _find_late_promotion(active)
        if active is not None:
            # The champion is moved below, under a row of its own: after an interruption the next one finds it.
            active.abort(f"cancelled by the rollback of {control.who}: {why}", is_taken_back=False)
        opened = locked.open(model, "rollback", from_version=bad, to_version=target, state="promoting")
        opened.note(reason=why)
        done = finish_rollback(opened)
    if late:
        guard(control, late, GUARD_SECONDS)
    return done


def finish_rollback(held: HeldRollout) -> Rollout:
    """Moves the aliases as a rollback's row says, however far an earlier try came; the caller holds the lock."""
    control, model, bad, target = held.control, held.row.model, held.row.from_version, held.row.to_version
    why, who = held.row.reason, held.row.who or held.row.owner
    if bad is not None and control.registry.read_tags(model, bad) is not None:
        control.registry.tag(model, bad, ROLLED_BACK, why[:LONGEST_REASON] or "rolled back")
    control.registry.move(model, CHAMPION, target)
    held.set_previous(target)
    held.log("rollback", why, from_version=bad, to_version=target, who=who)
    held.end("rolled back")
    logger.info("%s: rolled back from version %s to %s", model, bad, target)
    return held.row


def note_moves_by_hand(control: RolloutControl, model: str) -> None:
    """Logs that the champion is not the one that the last rollout left, so that the way back is known."""
    champion, last = control.registry.read(model).get(CHAMPION), control.log.find_last_move(model)
    left = last.to_version if last else None
    if champion is None or champion == left:
        return
    logger.warning("%s: found version %s as champion, expected %s: it was moved by hand", model, champion, left)
    why = f"noticed by {control.who}"
    control.log.record(model, "promote", who="by hand in MLflow", why=why, from_version=left, to_version=champion)


def promote_by_hand(control: RolloutControl, model: str, version: str, why: str) -> Rollout:
    """Promotes a version at once, even if the gate rejected it; a rollout that is under way is cancelled.

    Raises:
        NoCandidateError: the version does not exist.
    """
    if control.registry.read_tags(model, version) is None:
        raise NoCandidateError(
            f"{model}: found no version {version}, expected one that is registered; MLflow lists them"
        )
    with control.lock(model) as locked:
        active = locked.find_active(model)
        late = _find_late_promotion(active)
        if active is not None and _is_unfinished_rollback(active):
            finish_rollback(active)
        elif active is not None:
            active.abort(f"version {version} takes its place ({control.who}): {why}", is_verdict=False)
        champion = locked.registry.read(model).get(CHAMPION)
        opened = locked.open(model, "rollout", from_version=champion, to_version=version, state="promoting")
        opened.move_aliases(why)
        opened.finish(why)
    if late:
        guard(control, late, GUARD_SECONDS)
    return opened.row


def _find_late_promotion(active: HeldRollout | None) -> Rollout | None:
    """The rollout whose promotion was begun, while nobody knows how far it came: a change of its may come late."""
    return active.row if active is not None and active.row.state == "promoting" else None


def _is_unfinished_rollback(held: HeldRollout) -> bool:
    """Whether it was interrupted, and the version that it returns to still exists."""
    row = held.row
    return row.kind == "rollback" and held.control.registry.read_tags(row.model, row.to_version) is not None


def _refuse_second(control: RolloutControl, model: str, seen: Move | None) -> None:
    """Refuses a second rollback at the same moment: both persons mean the same version."""
    last = control.log.find_last_move(model)
    if last is not None and last != seen and last.action == "rollback":
        raise RolledBackError(
            f"{model}: found it rolled back to version {last.to_version} by {last.who} a moment ago, expected version "
            f"{last.from_version} to serve; roll back again to go back further"
        )


def _find_way_back(control: RolloutControl, model: str, active: Rollout | None) -> tuple[str, str]:
    """The version that is taken back, and the one that serves again."""
    if active is not None and active.state in MOVING and active.from_version is not None:
        if control.registry.read_tags(model, active.from_version) is None:
            raise _explain_no_way_back(model, f"no version {active.from_version}, which served before")
        return active.to_version, active.from_version
    found = control.registry.read(model)
    bad, target = found.get(CHAMPION), found.get(PREVIOUS)
    if bad is None or target is None or bad == target:
        raise _explain_no_way_back(model, f"no {'champion' if bad is None else 'version before the champion'}")
    return bad, target


def _explain_no_way_back(model: str, found: str) -> NoCandidateError:
    return NoCandidateError(f"{model}: found {found}, expected one; `mlops promote {model} VERSION` names any other")
