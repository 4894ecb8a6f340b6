"""What keeps a retraining from beginning, what a person is told, and that the call is not lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ml_code.data.live_rows import find_live
from ml_code.monitoring.retraining import trigger
from ml_code.monitoring.retraining.trigger import LONGEST_ATTEMPT, LONGEST_WAIT, Answer
from tests.unit.ml_code.monitoring.retraining.rents_world import HOUR, OWNER, START, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ask(world: World, owner: str = OWNER) -> Answer:
    return trigger.ask(world.workspace, "rents", owner)


def age(world: World, by: timedelta) -> None:
    """The attempts began so much earlier."""
    for attempt in world.warehouse.attempts:
        attempt["asked_at"] -= by


def test_a_call_waits_for_a_rollout_and_is_not_lost(world: World) -> None:
    world.answer()
    for kind in ("rollout", "rollback", "ab"):
        world.warehouse.rollout = kind, "9"
        answer = ask(world)
        assert (answer.begins, answer.is_notice) == (False, True)
        assert answer.says.startswith(
            f"rents is not trained again yet: a {kind} to version 9 is under way; the next window asks again. "
        )
    world.warehouse.rollout = None
    assert ask(world).begins


def test_a_call_waits_for_another_training(world: World) -> None:
    world.answer()
    world.tracker.list_running = lambda *_: ["rents-linear"]
    assert "the training rents-linear is under way; the next window asks again" in ask(world).says
    world.tracker.list_running = lambda *_: []
    assert ask(world).begins


def test_a_drift_without_any_label_tells_how_many_are_missing(world: World) -> None:
    world.answer(150)
    for file in (world.folder / "predictions").rglob("labels/**/*.parquet"):
        file.unlink()
    answer = ask(world)
    assert (answer.begins, answer.is_notice) == (False, True)
    assert "found 0 new labels, expected 200 and 20 of each class: missing 200 labels, " in answer.says


def test_missing_labels_are_told_by_number_and_class(world: World) -> None:
    world.answer(150, far=515)
    answer = ask(world)
    assert (answer.begins, answer.is_notice) == (False, True)
    assert "found 150 new labels, expected 200 and 20 of each class: missing 50 labels, " in answer.says
    assert "of the class 900; send them to /feedback. " in answer.says


def test_a_window_with_faults_is_in_the_way(world: World) -> None:
    world.answer()
    start, end, _, *rest = world.warehouse.windows[0]
    world.warehouse.windows.insert(0, (start + HOUR, end + HOUR, "quality", *rest))
    assert not ask(world).begins


def test_a_held_version_whose_rollout_was_aborted_is_in_nobodys_way(world: World) -> None:
    world.answer(is_turned=True)
    judged = world.retrain()
    assert judged.version
    [record] = [made for made in world.tracker.versions if made.version == judged.version]
    record.tags["rollout"] = "aborted"  # type: ignore[index]  # what anybody in MLflow may write
    assert trigger.settle(world.workspace) == []
    world.warehouse.verdicts[judged.version] = "aborted"
    [found] = trigger.settle(world.workspace)
    assert "was not approved" in found
    assert world.warehouse.attempts[0]["outcome"] == "rejected"
    assert not find_live(world.read()).any()


def test_faults_are_told_and_block_a_decline_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window with faults ends the alarm of drift, but labels may still call."""
    world.answer()
    call = trigger.find_call(world.workspace, "rents")
    monkeypatch.setattr(trigger, "find_call", lambda *_: call)
    start, end, _, rows, units, figures, page = world.warehouse.windows[0]
    faulty = {**figures, "faults": ["size is out of its range in 90 %"]}
    world.warehouse.windows.insert(0, (start + HOUR, end + HOUR, "quality", rows, units, faulty, page))
    answer = ask(world)
    assert (answer.begins, answer.is_notice) == (False, True)
    assert "the data has faults (size is out of its range in 90 %): a model must not learn them" in answer.says


def test_an_attempt_that_was_interrupted_keeps_no_other_away(world: World) -> None:
    world.answer()
    assert ask(world).begins
    age(world, LONGEST_ATTEMPT - timedelta(minutes=1))
    assert trigger.settle(world.workspace) == []
    assert "another retraining of it is under way" in ask(world, "another").says
    age(world, timedelta(minutes=2))
    [told] = trigger.settle(world.workspace)
    assert told.endswith("was interrupted")
    assert world.warehouse.attempts[0]["outcome"] == "failed"


def test_a_version_that_nobody_approves_within_a_month_keeps_no_other_away(world: World) -> None:
    world.answer(is_turned=True)
    judged = world.retrain()
    age(world, LONGEST_WAIT - timedelta(minutes=1))
    assert trigger.settle(world.workspace) == []
    assert f"version {judged.version} waits for a person: `mlops deploy rents {judged.version}`" in ask(world, "b").says
    age(world, timedelta(minutes=2))
    assert trigger.settle(world.workspace) == [f"rents: version {judged.version} waited too long for a person"]
    assert world.warehouse.attempts[0]["outcome"] == "rejected"
    assert not find_live(world.read()).any()


def test_after_a_rejection_labels_of_the_same_drift_add_up(world: World) -> None:
    world.answer(200)
    assert ask(world).begins
    world.warehouse.attempts[0] |= {"outcome": "rejected", "ended_at": START}
    age(world, timedelta(days=2))
    world.answer(150, start=START + HOUR)
    windows = [(START, HOUR, "drift")] + [(START + number * HOUR, HOUR, "drift") for number in (1, 2)]
    world.judge(*windows)
    assert "found 350 new labels, expected 400 (twice those of the rejected attempt)" in ask(world, "next").says
    world.answer(50, start=START + 2 * HOUR)
    world.judge(*windows)
    assert ask(world, "next").begins
