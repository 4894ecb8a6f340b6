"""A rollout that this process holds, with the verbs that need it: note, renew, move the aliases, abort, finish."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from serving.errors import BreachError, RolloutLostError
from serving.registry.names import (
    BAD_VERDICTS,
    CANARY_SHARE,
    CHAMPION,
    PREVIOUS,
    REPLAY_MARK,
    UNTIL,
    VERDICT,
)
from serving.rollout.promotion_log import Action
from serving.rollout.rows import MOVING, OPEN, Rollout, State

if TYPE_CHECKING:
    from serving.rollout.control import RolloutControl

REASON = "rollout_reason"
"""Tag of a version: why its rollout ended as it did."""

LONGEST_REASON = 1000
"""Characters: MLflow takes 5,000 for a tag."""

logger = logging.getLogger("serving")


@dataclass(slots=True)
class HeldRollout:
    """A rollout whose lease this process holds, or the lock of its model; `row` is as it was last written.

    The verbs that move aliases or end a rollout need the lock. With it, they also end another run's rollout.
    """

    control: RolloutControl
    row: Rollout

    def note(
        self, *, state: State | None = None, reason: str | None = None, figures: Mapping[str, Any] | None = None
    ) -> None:
        """Writes how far the rollout is on its row and on the model, and renews the lease.

        Raises:
            RolloutLostError: it has ended, or another run drives it.
            RegistryError: MLflow refuses.
        """
        before = self.row.state
        self.write(only_of=self.control.owner, state=state, reason=reason, figures=figures)
        self.tell()
        if state and state != before:
            logger.info("%s: %s%s", self.row.name, state, f", {reason}" if reason else "")

    def renew(self) -> None:
        """Renews the lease, and with it the time until which the canary pool holds the version.

        Raises:
            RolloutLostError: the rollout has ended, or another run drives it.
            RegistryError: MLflow refuses.
        """
        self.write(only_of=self.control.owner)
        if self.row.state in OPEN:
            self.keep_canary_open()

    def pause(self, seconds: float) -> None:
        """Waits, and renews the lease."""
        self.control.pause(seconds)
        self.renew()

    def keep_canary_open(self) -> None:
        """Has the canary pool hold the version for one more lease, as challenger or as shadow."""
        until = datetime.now(UTC) + timedelta(seconds=self.control.lease_seconds)
        self.control.registry.tag_model(self.row.model, UNTIL[self.row.alias], until.isoformat(timespec="seconds"))

    def share_canary(self, percent: int) -> None:
        """Gives the challenger this share of the canary pool's users, from the replicas' next reading on.

        Raises:
            RegistryError: MLflow refuses.
        """
        self.control.registry.tag_model(self.row.model, CANARY_SHARE, str(percent))

    def mark_replays(self, word: str) -> None:
        """Tells the replicas the sha256 of the word that this rollout's own requests carry; nobody reads the word.

        Raises:
            RegistryError: MLflow refuses.
        """
        self.control.registry.tag_model(self.row.model, REPLAY_MARK, hash_word(word))

    def close_canary(self) -> None:
        """Withdraws the version from the canary pool, unless another rollout has put its own there by now."""
        registry, model, alias = self.control.registry, self.row.model, self.row.alias
        if registry.read(model).get(alias) in {None, self.row.to_version}:
            registry.tag_model(model, UNTIL[alias], None)
            registry.tag_model(model, CANARY_SHARE, None)
            registry.delete(model, alias)

    def move_aliases(self, why: str) -> None:
        """Makes the target the champion and the version before it `previous`, and logs it; needs the lock.

        The versions are the row's and not those that the aliases name, so that a repeated step does not lose one.
        """
        control, model, before, target = self.control, self.row.model, self.row.from_version, self.row.to_version
        if before and before != target:
            control.registry.move(model, PREVIOUS, before)
        control.registry.move(model, CHAMPION, target)
        self.log("promote", why, from_version=before, to_version=target)
        logger.info("%s: champion is now version %s", model, target)

    def set_previous(self, champion: str) -> None:
        """Points `previous` at the version that served before the champion's last promotion, if the log has it.

        A version that was deleted since cannot serve again, and must not stop the rollback.
        """
        registry, model = self.control.registry, self.row.model
        promotion = self.control.log.find_promotion(model, champion)
        before = promotion.from_version if promotion else None
        if before is None or registry.read_tags(model, before) is None:
            registry.delete(model, PREVIOUS)
        else:
            registry.move(model, PREVIOUS, before)

    def log(
        self, action: Action, why: str, *, from_version: str | None, to_version: str, who: str | None = None
    ) -> None:
        """Adds the move to the log, once for each rollout and action.

        Raises:
            RolloutLostError: another process has ended the rollout.
        """
        is_ours = self.control.log.record(
            self.row.model,
            action,
            who or self.control.who,
            why,
            from_version=from_version,
            to_version=to_version,
            rollout_id=self.row.rollout_id,
        )
        if not is_ours:
            raise explain_loss(self.control.rows.read(self.row.rollout_id))

    def take_over(self) -> None:
        """Makes this process the owner; needs the lock."""
        before = self.row.owner
        self.write(owner=self.control.owner, who=self.control.who, run_url=self.control.run_url)
        if before != self.control.owner:
            logger.info("%s: taken over in the state %s from %s", self.row.name, self.row.state, before)

    @contextmanager
    def aborting(self) -> Iterator[None]:
        """Ends the rollout on a breach, before it raises the error."""
        try:
            yield
        except BreachError as breach:
            self.control.abort(self.row.rollout_id, breach)
            raise type(breach)(f"{self.row.name}: {breach}") from breach

    def abort(
        self, reason: str, *, state: State = "aborted", is_verdict: bool = True, is_taken_back: bool = True
    ) -> None:
        """Ends a rollout, whoever drives it; needs the lock.

        Args:
            reason: why.
            state: that it ends in.
            is_verdict: whether the version is to blame, so that it is not picked automatically.
            is_taken_back: whether the version before serves again, where the aliases were moved already.
        """
        if is_taken_back:
            self._take_back(reason)
        self.close_canary()
        if is_verdict:
            self._tag_unless_deleted(state, reason)
        self.end(state, reason, is_verdict=is_verdict and state in BAD_VERDICTS)
        logger.warning("%s: %s, %s", self.row.name, state, reason)

    def finish(self, reason: str) -> None:
        """Ends a rollout whose version serves; needs the lock.

        Raises:
            RolloutLostError: it has ended, or another run drives it.
        """
        self._tag_version("promoted", reason)
        self.end("promoted", reason, only_of=self.control.owner, is_verdict=True)
        logger.info("%s: promoted, %s", self.row.name, reason)

    def end(
        self, state: State, reason: str | None = None, *, only_of: str | None = None, is_verdict: bool = False
    ) -> None:
        """Writes the end on the model and on the row; needs the lock."""
        self.control.registry.tag_model(self.row.model, REPLAY_MARK, None)
        # The row comes last: a step that is interrupted in between is repeated.
        self.tell(state=state, reason=reason)
        self.write(only_of=only_of, state=state, reason=reason, is_over=True, is_verdict=is_verdict)

    def write(self, **changes: Any) -> None:
        """Changes the row and renews its lease.

        Raises:
            RolloutLostError: it has ended, or it is not of the owner `only_of`.
        """
        rows = self.control.rows
        written = rows.write(self.row.rollout_id, lease_seconds=self.control.lease_seconds, **changes)
        if written is None:
            raise explain_loss(rows.read(self.row.rollout_id))
        self.row = written

    def tell(self, *, state: State | None = None, reason: str | None = None) -> None:
        """Writes the model's tag from which the replicas and the start page read the rollout's progress."""
        described = {
            "kind": self.row.kind,
            "state": state or self.row.state,
            "from_version": self.row.from_version,
            "to_version": self.row.to_version,
            "started_at": self.row.started_at.isoformat(timespec="seconds"),
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "reason": (self.row.reason if reason is None else reason)[:LONGEST_REASON],
            "figures": self.row.figures,
            "run_url": self.row.run_url,
        }
        self.control.registry.tag_model(self.row.model, VERDICT, json.dumps(described, ensure_ascii=False))

    def _tag_version(self, verdict: str, reason: str) -> None:
        registry, model, version = self.control.registry, self.row.model, self.row.to_version
        registry.tag(model, version, VERDICT, verdict)
        registry.tag(model, version, REASON, reason[:LONGEST_REASON])

    def _tag_unless_deleted(self, verdict: State, reason: str) -> None:
        """Tags the version; an attempt that could not tell leaves the verdict of an earlier one."""
        tags = self.control.registry.read_tags(self.row.model, self.row.to_version)
        if tags is None or (verdict == "inconclusive" and tags.get(VERDICT) in BAD_VERDICTS):
            return
        self._tag_version(verdict, reason)

    def _take_back(self, reason: str) -> None:
        """Returns to the version before, if the aliases were moved already."""
        control, model, before, target = self.control, self.row.model, self.row.from_version, self.row.to_version
        if self.row.state not in MOVING or before is None or before == target:
            return
        found = control.registry.read(model)
        # Where the version before was deleted since, there is none to go back to.
        if found.get(CHAMPION) == target and control.registry.read_tags(model, before) is not None:
            control.registry.move(model, CHAMPION, before)
            self.log("rollback", reason, from_version=target, to_version=before)
        if found.get(PREVIOUS) == before:
            self.set_previous(before)


def hash_word(word: str) -> str:
    """The mark by which replicas know a word."""
    return hashlib.sha256(word.encode()).hexdigest()


def explain_loss(found: Rollout) -> RolloutLostError:
    """The error of a rollout that this process no longer holds."""
    if found.ended_at is not None:
        return RolloutLostError(f"{found.name}: found it {found.state} ({found.reason}), expected it under way")
    return RolloutLostError(f"{found.name}: found it driven by {found.owner}, which took it over")
