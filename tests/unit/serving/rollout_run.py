"""A rollout as the DAG runs it, on fakes."""

from __future__ import annotations

from serving.rollout.control import RolloutControl
from serving.rollout.order import list_steps, roll_out
from serving.rollout.plan import open_rollout
from tests.unit.serving.rollout_fakes import Table

WINDOW_SECONDS = 20.0
STEPS = list_steps(window_seconds=WINDOW_SECONDS)


def run(table: Table, owner: str = "dag/run", version: str | None = None) -> int:
    """What the DAG does."""
    return roll_out(table.control(owner), "iris", version, window_seconds=WINDOW_SECONDS)


def begin(control: RolloutControl, last: str = "wait_for_canary") -> int:
    """Takes the steps up to one of them; returns the number of the rollout."""
    number = open_rollout(control, "iris").rollout_id
    for name, step in STEPS.items():
        step(control, number)
        if name == last:
            break
    return number


def assert_settled(table: Table, champion: str, previous: str | None) -> None:
    expected = {"champion": champion} | ({"previous": previous} if previous else {})
    assert table.registry.aliases == expected
    assert not {"canary_until", "canary_share"} & table.registry.model_tags.keys()
    assert table.rows.find_active("iris") is None
