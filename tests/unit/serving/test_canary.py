"""What may happen around a canary while it is watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from ml_code.model_spec import Value
from serving.errors import BreachError
from serving.gateway import Answer, Variant
from serving.plan import open_rollout
from tests.unit.serving.fake_registry import ROWS
from tests.unit.serving.rollout_fakes import set_table
from tests.unit.serving.rollout_run import STEPS, run

pytestmark = pytest.mark.usefixtures("quick_validation")


def test_a_stranger_who_marks_requests_as_replayed_does_not_spare_the_canary_its_own() -> None:
    table = set_table("4", champion="3")
    pause, predict, replayed = table.stack.pause, table.stack.predict, Counter[str | None]()

    def pause_beside_a_stranger(seconds: float) -> None:
        pause(seconds)
        for variant in ("stable", "canary"):
            predict("iris", ROWS * 100, variant)

    def count_own(model: str, rows: Sequence[Sequence[Value]], variant: Variant | None) -> list[Answer]:
        replayed[variant] += len(rows)
        return predict(model, rows, variant)

    table.stack.pause = pause_beside_a_stranger  # type: ignore[method-assign]
    table.stack.predict = count_own  # type: ignore[method-assign]
    assert table.rows.read(run(table)).state == "promoted"
    assert replayed["canary"] >= 300


def test_a_champion_that_is_moved_by_hand_during_the_analysis_is_not_held_against_the_version() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    for name in ("validate_artifact", "start_canary", "wait_for_canary"):
        STEPS[name](control, number)
    table.aliases.aliases["champion"] = "1"
    with pytest.raises(BreachError, match="found version 1, expected 3; it was moved by hand"):
        STEPS["analyse_canary"](control, number)
    assert table.aliases.aliases == {"champion": "1"}
    assert "rollout" not in table.aliases.tags["4"]
    assert table.rows.find_active("iris") is None
