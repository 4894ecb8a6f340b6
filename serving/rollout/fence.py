"""The fence around a model's aliases: each change is proven to be under the lock, before and after it is made.

The lock ends with its database session, while a call of MLflow may take effect long after its caller gave up. Who finds
that the lock was lost, or that a call came late, puts right what it overwrote.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ml_code.errors import WarehouseError
from serving.errors import LateChangeError, RegistryError
from serving.registry.names import CHALLENGER, CHAMPION, PREVIOUS, SHADOW
from serving.registry.writer import RegistryWriter
from serving.rollout.rows import OPEN, Rollout

if TYPE_CHECKING:
    from serving.rollout.control import RolloutControl

HOLD_SECONDS = 40.0
"""After this time under the lock nothing more is changed; another process waits longer for the lock than this."""

LATE_SECONDS = 300.0
"""Longest wait for the outcome of a change that MLflow did not answer in time."""

TRIES = 3
"""Moves of an alias that another program moves at the same moment."""

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an alias whose outcome the lock no longer covers; `version` is None of a deletion."""

    alias: str
    version: str | None
    late: LateChangeError | None = None


@dataclass(slots=True)
class FencedRegistry:
    """The registry under the lock of a model: no call begins without the proof that the lock is still held."""

    registry: RegistryWriter
    prove: Callable[[], None]
    clock: Callable[[], float]
    changes: list[Change] = field(default_factory=list)
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.until = self.clock() + HOLD_SECONDS

    def read(self, model: str) -> dict[str, str]:
        """The version that each alias names."""
        self._check()
        return self.registry.read(model)

    def find_newest_passed(self, model: str, barred: Collection[str]) -> str | None:
        """The newest version that passed the gate and is not among the barred ones."""
        self._check()
        return self.registry.find_newest_passed(model, barred)

    def read_tags(self, model: str, version: str) -> dict[str, str] | None:
        """The tags of a version; None where it does not exist."""
        self._check()
        return self.registry.read_tags(model, version)

    def download(self, model: str, version: str, target: Path, limit_bytes: int) -> str:
        """Writes a version's model file to a path and returns its sha256."""
        self._check()
        return self.registry.download(model, version, target, limit_bytes)

    def move(self, model: str, alias: str, version: str) -> None:
        """Points an alias at a version, and reads whether it does.

        Raises:
            LateChangeError: MLflow did not answer in time, so that the move may still take place.
            RegistryError: MLflow refuses, or another program moves the alias.
        """
        for _ in range(TRIES):
            self._change(Change(alias, version), lambda: self.registry.move(model, alias, version))
            if (found := self.registry.read(model).get(alias)) == version:
                return
            logger.warning("%s: found the alias %s at version %s, expected %s", model, alias, found, version)
        raise RegistryError(
            f"{model}: expected the alias {alias} to stay at version {version}, found that another program moves it"
        )

    def delete(self, model: str, alias: str) -> None:
        """Deletes an alias.

        Raises:
            LateChangeError: MLflow did not answer in time, so that the alias may still be deleted.
        """
        self._change(Change(alias, None), lambda: self.registry.delete(model, alias))

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Writes a tag on a version."""
        self._check()
        self.registry.tag(model, version, key, value)

    def tag_model(self, model: str, key: str, value: str | None) -> None:
        """Writes a tag on a model; None removes it."""
        self._check()
        self.registry.tag_model(model, key, value)

    def _change(self, change: Change, call: Callable[[], None]) -> None:
        self._check()
        self.changes.append(change)
        try:
            call()
        except LateChangeError as late:
            self.changes[-1] = Change(change.alias, change.version, late)
            raise
        self.prove()

    def _check(self) -> None:
        """Raises where the lock is lost, or was held for so long that others stop waiting for it."""
        self.prove()
        if self.clock() > self.until:
            raise RegistryError(
                f"the lock of the aliases: found it held for more than {HOLD_SECONDS:.0f} s, expected less; MLflow is "
                "slow: repeat the step"
            )


def repair(control: RolloutControl, model: str, changes: list[Change]) -> None:
    """Puts aliases right that a change overwrote after its lock was lost, or before MLflow answered.

    The rows and the log are read again: a rollout that is still this owner's continues, and repeats the change.
    """
    for change in changes:
        if change.late and not change.late.wait(LATE_SECONDS):
            logger.warning("%s: MLflow has not answered a change of %s; look at its aliases", model, change.alias)
    with control.rows.lock(model) as prove:
        active = control.rows.find_active(model)
        if active is not None and active.owner == control.owner:
            return
        registry = FencedRegistry(control.registry, prove, control.clock)
        found, expected = registry.read(model), find_expected(control, model)
        for change in {change.alias: change for change in changes}.values():
            alias, version = change.alias, expected[change.alias]
            if found.get(alias) != change.version or version == change.version:
                continue
            logger.warning("%s: %s: found version %s, expected %s", model, alias, change.version, version)
            if version is None:
                registry.delete(model, alias)
            elif registry.read_tags(model, version) is not None:
                registry.move(model, alias, version)


def find_expected(control: RolloutControl, model: str) -> dict[str, str | None]:
    """The version that each alias has to name by the log and the rows; the caller holds the model's lock."""
    last, active = control.log.find_last_move(model), control.rows.find_active(model)
    champion = last.to_version if last else None
    promotion = control.log.find_promotion(model, champion) if champion else None
    held = {active.alias: active.to_version} if active is not None and active.state in OPEN else {}
    return {
        CHAMPION: champion,
        PREVIOUS: promotion.from_version if promotion else None,
        CHALLENGER: None,
        SHADOW: None,
        **held,
    }


def guard(control: RolloutControl, cancelled: Rollout, seconds: float) -> None:
    """Watches for a while that no change of a move that was cancelled midway comes late, from a dead process."""
    model, until = cancelled.model, control.clock() + seconds
    changes = _list_changes(control, cancelled)
    while control.clock() < until:
        control.pause(1.0)
        try:
            found, expected = control.registry.read(model), find_expected(control, model)
            if any(found.get(at.alias) == at.version != expected[at.alias] for at in changes):
                repair(control, model, changes)
        except (RegistryError, WarehouseError) as error:  # the move that this follows is done and logged
            logger.warning("%s: found that a late change cannot be looked for now (%s)", model, error)


def _list_changes(control: RolloutControl, cancelled: Rollout) -> list[Change]:
    """The changes of aliases that a promotion or a rollback makes."""
    target, before = cancelled.to_version, cancelled.from_version
    changes = [Change(CHAMPION, target), Change(CHALLENGER, target)]
    if cancelled.kind == "rollback":
        promotion = control.log.find_promotion(cancelled.model, target)
        return [*changes, Change(PREVIOUS, promotion.from_version if promotion else None)]
    return [*changes, Change(PREVIOUS, before)] if before else changes
