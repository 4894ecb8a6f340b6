"""Everything that a rollout works with, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ml_code.gate.holdout_rows import HoldoutRows
from ml_code.model_file.onnx_model import OnnxModel
from serving.rollout.control import RolloutControl
from serving.rollout.rollback import promote_by_hand
from serving.rollout.validation import Measured
from tests.unit.serving.fake_registry import FILE, ROWS, FakeLog, FakeRegistryWriter, FakeRows
from tests.unit.serving.fake_stack import FakeStack


@dataclass(frozen=True)
class Table:
    """Everything that stays when a controller dies."""

    registry: FakeRegistryWriter
    log: FakeLog
    rows: FakeRows
    stack: FakeStack

    def control(self, owner: str = "dag/run") -> RolloutControl:
        """A controller of that name, on this table."""
        return RolloutControl(
            self.registry,
            self.log,
            self.rows,
            self.stack,
            self.stack,
            read_holdout,
            owner,
            timeout_seconds=10.0,
            pause=self.stack.pause,
            clock=self.stack.clock,
            signer=self.registry.signer,
        )


def set_table(newest_passed: str | None = None, *, has_canary_pool: bool = True, **aliases: str) -> Table:
    """A registry with these versions and aliases, and replicas that follow it."""
    registry, rows = FakeRegistryWriter(newest_passed, **aliases), FakeRows()
    log = FakeLog(rows=rows)
    if "champion" in aliases:
        log.record(
            "iris", "promote", "ada", "as it was", from_version=aliases.get("previous"), to_version=aliases["champion"]
        )
    return Table(registry, log, rows, FakeStack(registry, rows, has_canary_pool=has_canary_pool))


def read_holdout(model: str, version: str) -> HoldoutRows:
    opened = OnnxModel(FILE)
    return HoldoutRows(opened.spec, ROWS, opened.predict_rows(ROWS).values)


def judge(control: RolloutControl, rollout_id: int) -> None:
    """Notes what `analyse_canary` finds of a good version."""
    found = {"live": 310, "replayed": 0, "failures": 0, "p99_ms": 4.0, "nan_rows": 0}
    control.read_own(rollout_id).note(figures={"canary": found, "stable": found})


def promote_in_turn(*versions: str) -> Table:
    """Iris whose versions were promoted by hand one after the other."""
    table = set_table(versions[-1])
    for version in versions:
        promote_by_hand(table.control("ada@lab"), "iris", version, "better")
    return table


def skip_validation(patch: pytest.MonkeyPatch) -> None:
    """Has steps measure each file at once, instead of in a process of its own."""
    measured = Measured(read_holdout("iris", "1").spec, 0.1, 0.1, 1.0, 10.0, 10.0)
    patch.setattr("serving.rollout.steps.validate", lambda candidate, **_: measured)
