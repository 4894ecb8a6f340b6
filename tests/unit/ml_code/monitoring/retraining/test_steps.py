"""An attempt from the call to the version and its reference, with MLflow and the warehouse as fakes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from ml_code.data import snapshots
from ml_code.data.holdout import split_holdout
from ml_code.data.live_rows import LIVE_ID, find_live
from ml_code.monitoring.retraining import trigger
from ml_code.training import plans, run
from ml_code.training.reference import read_reference
from tests.unit.ml_code.monitoring.retraining.rents_world import HOUR, START, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_rows_that_moved_are_learned_promoted_and_count_from_now_on(world: World) -> None:
    world.answer()
    judged = world.retrain()
    assert judged.outcome == "promoted", judged.decision.reason
    assert find_live(world.read()).sum() == 400
    assert world.warehouse.attempts[0]["version"] == judged.version
    again = trigger.ask(world.workspace, "rents", "another run")
    assert not again.begins
    assert "may begin a day later" in again.says


def test_labels_that_contradict_old_rows_wait_and_count_once_their_version_serves(world: World) -> None:
    world.answer(is_turned=True)
    judged = world.retrain()
    assert judged.outcome == "held", judged.decision.reason
    assert not find_live(world.read()).any()
    assert trigger.settle(world.workspace) == []
    world.tracker.aliases["champion"] = judged.version
    assert len(trigger.settle(world.workspace)) == 1
    assert find_live(world.read()).sum() == 400
    assert world.warehouse.attempts[0]["outcome"] == "promoted"


def test_the_reference_is_the_rows_of_the_windows_that_drifted(world: World) -> None:
    """Between two windows that drift lies one in which the houses were as before."""
    third = timedelta(minutes=20)
    world.answer(120)
    world.answer(120, is_usual=True, start=START + third)
    world.answer(280, start=START + 2 * third)
    world.judge((START, third, "drift"), (START + third, third, "clean"), (START + 2 * third, HOUR, "drift"))
    judged = world.retrain()
    assert judged.version, judged.decision.reason
    sizes = world.tracker.read_sizes(judged.version)
    assert (len(sizes), sizes.min() > 500) == (400, True)


def test_of_a_long_drift_the_labels_count_and_the_last_windows_are_the_reference(world: World) -> None:
    """Fifty labels in each of eight windows: five of them would never have enough."""
    length = timedelta(seconds=500)
    world.answer(400)
    world.judge(*[(START + number * length, length, "drift") for number in range(8)])
    judged = world.retrain()
    assert world.warehouse.attempts[0]["labels"] == 400
    assert len(world.tracker.read_sizes(judged.version)) == 250


def test_a_version_of_a_new_file_after_a_retraining_is_compared_with_the_new_rows(world: World) -> None:
    world.answer()
    world.serve(world.retrain().version)
    world.bring(310)
    [plan] = plans.plan_retrainings(world.workspace, ["rents"])
    uri = snapshots.prepare(world.workspace, "rents")
    run_id = run.train(world.workspace, snapshot_uri=uri, **plans.training_arguments(plan))
    reference = read_reference(world.tracker.files[run_id, "reference"])
    sizes = pc.struct_field(reference.rows["features"], "size").to_numpy()
    assert (len(sizes), sizes.min() > 500) == (400, True)


def test_labels_that_contradict_what_an_earlier_retraining_learned_wait_for_a_person(world: World) -> None:
    """The rows of files know nothing of houses so large; those of the retraining before do."""
    world.answer()
    first = world.retrain()
    assert first.outcome == "promoted", first.decision.reason
    world.serve(first.version)
    start = START + timedelta(minutes=90)
    random = np.random.default_rng(6)
    sizes, ages = random.uniform(510, 600, 800), random.integers(0, 50, 800)  # so many that they are learned alone too
    cells = [[float(size), float(age), "S"] for size, age in zip(sizes, ages, strict=True)]
    world.log(cells, np.where(sizes < 560, 400, 900), start, pause=timedelta(seconds=5))
    world.judge((start, HOUR, "drift"), (start + HOUR, HOUR, "drift"))
    second = world.retrain("model_retraining/poisoned/rents")
    assert second.outcome == "held", second.decision.reason
    assert second.decision.difference is not None
    assert second.decision.difference > 0.2
    assert "of earlier retrainings; a changed world and wrong labels look alike" in second.decision.reason


def test_held_out_rows_are_never_trained_on_by_this_retraining_or_the_next(world: World) -> None:
    world.answer()
    first = world.retrain()
    world.serve(first.version)
    world.answer(300, start=START + timedelta(minutes=90))
    world.retrain("model_retraining/next/rents")
    dataset = world.workspace.load_dataset("rents")
    held: set[str] = set()
    trained: set[str] = set()
    for made in world.tracker.runs.values():
        split = split_holdout(dataset, snapshots.read_snapshot(world.workspace, made.tags["snapshot_uri"]))
        for rows, names in ((split.train, trained), (split.holdout, held)):
            names.update(rows[LIVE_ID].dropna() if LIVE_ID in rows else [])
    assert len(held) + len(trained) == 700
    assert not held & trained
