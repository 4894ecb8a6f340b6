"""How a rollout ends: promoted, or aborted with everything as it was before."""

from __future__ import annotations

import logging

from serving.errors import BreachError, InconclusiveError, MovedByHandError
from serving.registry.names import CHALLENGER, CHAMPION, PREVIOUS, VERDICT
from serving.registry.writer import RegistryWriter
from serving.rollout.control import CANARY_UNTIL, LONGEST_REASON, RolloutControl, hold, note, tell
from serving.rollout.promotion_log import PromotionLog
from serving.rollout.rows import MOVING, Rollout, State

REASON = "rollout_reason"
"""Tag of a version: why its rollout ended as it did."""

logger = logging.getLogger("serving")


def abort(control: RolloutControl, rollout_id: int, breach: BreachError) -> None:
    """Ends a rollout whose version must not serve, and tags the version where it is to blame.

    Raises:
        RolloutLostError: it has ended, or another run drives it.
    """
    with hold(control, rollout_id) as rollout:
        state: State = "inconclusive" if isinstance(breach, InconclusiveError) else "aborted"
        abort_held(control, rollout, str(breach), state=state, is_verdict=not isinstance(breach, MovedByHandError))


def abort_held(
    control: RolloutControl,
    rollout: Rollout,
    reason: str,
    *,
    state: State = "aborted",
    is_verdict: bool = True,
    is_taken_back: bool = True,
) -> None:
    """Ends a rollout, whoever drives it; the caller holds the model's lock.

    Args:
        control: of whoever ends it.
        rollout: which is active.
        reason: why.
        state: that it ends in.
        is_verdict: whether the version is to blame, so that it is not picked automatically.
        is_taken_back: whether the version before serves again, where the aliases were moved already.
    """
    if is_taken_back:
        take_back(control, rollout, reason)
    close_canary(control.registry, rollout)
    if is_verdict and control.registry.read_tags(rollout.model, rollout.to_version) is not None:
        control.registry.tag(rollout.model, rollout.to_version, VERDICT, state)
        control.registry.tag(rollout.model, rollout.to_version, REASON, reason[:LONGEST_REASON])
    tell(control, rollout, state=state, reason=reason)
    control.rows.write(
        rollout.rollout_id, lease_seconds=control.lease_seconds, state=state, reason=reason, is_over=True
    )
    logger.warning("%s: %s, %s", rollout.name, state, reason)


def take_back(control: RolloutControl, rollout: Rollout, reason: str) -> None:
    """Returns to the version before, if the aliases were moved already."""
    if rollout.state not in MOVING or rollout.from_version is None or rollout.from_version == rollout.to_version:
        return
    registry, model = control.registry, rollout.model
    found = registry.read(model)
    # Where the version before was deleted since, there is none to go back to.
    if found.get(CHAMPION) == rollout.to_version and registry.read_tags(model, rollout.from_version) is not None:
        registry.move(model, CHAMPION, rollout.from_version)
        control.log.record(
            model,
            "rollback",
            who=control.owner,
            why=reason,
            from_version=rollout.to_version,
            to_version=rollout.from_version,
        )
    if found.get(PREVIOUS) == rollout.from_version:
        set_previous(registry, control.log, model, rollout.from_version)


def finish(control: RolloutControl, rollout: Rollout, reason: str) -> Rollout:
    """Ends a rollout whose version serves; the caller holds the model's lock."""
    control.registry.tag(rollout.model, rollout.to_version, VERDICT, "promoted")
    control.registry.tag(rollout.model, rollout.to_version, REASON, reason[:LONGEST_REASON])
    return note(control, rollout, state="promoted", reason=reason, is_over=True)


def note_moves_by_hand(control: RolloutControl, model: str) -> None:
    """Logs that the champion is not the one that the last rollout left, so that the way back is known."""
    champion = control.registry.read(model).get(CHAMPION)
    last = next((move.to_version for move in control.log.list_moves(model) if move.to_version), None)
    if champion is None or champion == last:
        return
    logger.warning("%s: found version %s as champion, expected %s: it was moved by hand", model, champion, last)
    control.log.record(
        model,
        "promote",
        who="by hand in MLflow",
        why=f"noticed by {control.owner}",
        from_version=last,
        to_version=champion,
    )


def close_canary(registry: RegistryWriter, rollout: Rollout) -> None:
    """Withdraws the challenger, unless it belongs to another rollout by now."""
    if registry.read(rollout.model).get(CHALLENGER) in {None, rollout.to_version}:
        registry.tag_model(rollout.model, CANARY_UNTIL, None)
        registry.delete(rollout.model, CHALLENGER)


def set_previous(registry: RegistryWriter, log: PromotionLog, model: str, champion: str) -> None:
    """Points `previous` at the version that served before the last promotion, if the log has it.

    A version that was deleted since cannot serve again, and must not stop the rollback.
    """
    before = find_version_before(log, model, champion)
    if before is None or registry.read_tags(model, before) is None:
        registry.delete(model, PREVIOUS)
    else:
        registry.move(model, PREVIOUS, before)


def find_version_before(log: PromotionLog, model: str, version: str) -> str | None:
    """The version that served before the last promotion of a version."""
    moves = log.list_moves(model)
    return next((move.from_version for move in moves if move.action == "promote" and move.to_version == version), None)
