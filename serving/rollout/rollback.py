"""Returns to the version before, or to any other that a person names, at once and whatever is under way."""

from __future__ import annotations

import logging

from serving.errors import NoCandidateError, RolledBackError
from serving.registry.names import CHAMPION, PREVIOUS, ROLLED_BACK
from serving.rollout.control import LONGEST_REASON, RolloutControl, note, open_row, tell
from serving.rollout.outcome import abort_held, finish, note_moves_by_hand, set_previous
from serving.rollout.promotion_log import Move
from serving.rollout.rows import MOVING, Rollout

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
    seen = _find_last_move(control, model)
    with control.rows.lock(model):
        # A person is the same owner every time; each run is an owner of its own.
        if control.run_url and (done := control.rows.find_rollback(model, control.owner)):
            return done
        active = control.rows.find_active(model)
        if active is not None and active.kind == "rollback":  # an interrupted one
            return finish_rollback(control, active)
        _refuse_second(control, model, seen)
        note_moves_by_hand(control, model)
        bad, target = _find_way_back(control, model, active)
        if active is not None:
            # The champion is moved below, under a row of its own: after an interruption the next one finds it.
            abort_held(control, active, f"cancelled by the rollback of {control.owner}: {why}", is_taken_back=False)
        opened = open_row(control, model, "rollback", from_version=bad, to_version=target, state="promoting")
        written = note(control, opened, reason=why)
        return finish_rollback(control, written)


def finish_rollback(control: RolloutControl, rollback: Rollout) -> Rollout:
    """Moves the aliases as a rollback's row says, however far an earlier try came; the caller holds the lock."""
    model, bad, why = rollback.model, rollback.from_version, rollback.reason
    if bad is not None and control.registry.read_tags(model, bad) is not None:
        control.registry.tag(model, bad, ROLLED_BACK, why[:LONGEST_REASON] or "rolled back")
    control.registry.move(model, CHAMPION, rollback.to_version)
    set_previous(control.registry, control.log, model, rollback.to_version)
    control.log.record(model, "rollback", who=rollback.owner, why=why, from_version=bad, to_version=rollback.to_version)
    tell(control, rollback, state="rolled back")
    ended = control.rows.write(
        rollback.rollout_id, lease_seconds=control.lease_seconds, state="rolled back", is_over=True
    )
    assert ended is not None  # noqa: S101  the caller holds the lock, and it was active
    logger.info("%s: rolled back from version %s to %s", model, bad, rollback.to_version)
    return ended


def promote_by_hand(control: RolloutControl, model: str, version: str, why: str) -> Rollout:
    """Promotes a version at once, even if the gate rejected it; a rollout that is under way is cancelled.

    Raises:
        NoCandidateError: the version does not exist.
    """
    if control.registry.read_tags(model, version) is None:
        raise NoCandidateError(
            f"{model}: found no version {version}, expected one that is registered; MLflow lists them"
        )
    with control.rows.lock(model):
        active = control.rows.find_active(model)
        if active is not None and _is_unfinished_rollback(control, active):
            finish_rollback(control, active)
        elif active is not None:
            abort_held(control, active, f"version {version} takes its place ({control.owner}): {why}", is_verdict=False)
        champion = control.registry.read(model).get(CHAMPION)
        opened = open_row(control, model, "rollout", from_version=champion, to_version=version, state="promoting")
        move_aliases(control, opened, why)
        return finish(control, opened, why)


def move_aliases(control: RolloutControl, rollout: Rollout, why: str) -> None:
    """Makes the target the champion and the version before it `previous`, and logs it; the caller holds the lock.

    The versions are the row's and not those that the aliases name, so that a repeated step does not lose one.
    """
    registry, model = control.registry, rollout.model
    if rollout.from_version and rollout.from_version != rollout.to_version:
        registry.move(model, PREVIOUS, rollout.from_version)
    registry.move(model, CHAMPION, rollout.to_version)
    if rollout.from_version != rollout.to_version:
        control.log.record(
            model,
            "promote",
            who=control.owner,
            why=why,
            from_version=rollout.from_version,
            to_version=rollout.to_version,
        )
    logger.info("%s: champion is now version %s", model, rollout.to_version)


def _is_unfinished_rollback(control: RolloutControl, active: Rollout) -> bool:
    """Whether it was interrupted, and the version that it returns to still exists."""
    return active.kind == "rollback" and control.registry.read_tags(active.model, active.to_version) is not None


def _find_last_move(control: RolloutControl, model: str) -> Move | None:
    return next((move for move in control.log.list_moves(model) if move.to_version), None)


def _refuse_second(control: RolloutControl, model: str, seen: Move | None) -> None:
    """Refuses a second rollback at the same moment: both persons mean the same version."""
    last = _find_last_move(control, model)
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
