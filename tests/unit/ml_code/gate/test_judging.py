"""Trainings, corrections of the catalog and decisions, with MLflow as a fake."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_code.data import snapshots
from ml_code.data.holdout import split_holdout
from ml_code.errors import GateError
from ml_code.gate import judging, selection
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import Settings
from ml_code.tracking import RunRecord
from ml_code.training import baseline
from ml_code.ways import FIT, WORKERS
from tests.unit.ml_code.gate.rents import Loop


@pytest.fixture
def loop(tmp_path: Path, settings: Settings) -> Loop:
    return Loop(tmp_path, settings)


def test_both_baselines_stand_beside_every_challenger(loop: Loop) -> None:
    run_id = loop.train("random_forest", n_estimators=5)
    decision = loop.decide(run_id)
    metrics = loop.tracker.runs[run_id].metrics
    rows = snapshots.read_snapshot(loop.workspace, loop.tracker.runs[run_id].tags["snapshot_uri"])
    truth = split_holdout(loop.workspace.load_dataset("rents"), rows).holdout["rent"]
    assert metrics["baseline_dummy"] == pytest.approx(np.mean(truth == rows["rent"].mode()[0]))
    assert 0.9 < metrics["baseline_linear"] <= 1.0
    assert (decision.baseline_dummy, decision.baseline_linear) == (
        metrics["baseline_dummy"],
        metrics["baseline_linear"],
    )


def test_a_linear_challenger_is_its_own_baseline(loop: Loop) -> None:
    run_id = loop.train("linear")
    assert loop.decide(run_id).baseline_linear == loop.tracker.runs[run_id].metrics["accuracy"]
    assert (run_id, "baseline") not in loop.tracker.files


def test_the_linear_baseline_of_a_large_table_takes_a_sample(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_ROWS", 50)
    seen: list[int] = []
    fit = baseline.fit_pipeline

    def fit_and_count(dataset: Any, train: pd.DataFrame, *rest: Any) -> Any:
        seen.append(len(train))
        return fit(dataset, train, *rest)

    monkeypatch.setattr(baseline, "fit_pipeline", fit_and_count)
    loop.train("random_forest", n_estimators=5)
    assert seen == [50]


def test_a_linear_baseline_that_fails_stops_no_training(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise GateError("refused")

    monkeypatch.setattr(baseline, "fit_pipeline", fail)
    assert loop.decide(loop.train("random_forest", n_estimators=5)).baseline_linear is None


def test_a_model_of_noise_passes_no_threshold_that_a_constant_reaches(loop: Loop) -> None:
    """Nine in ten rows are of one class, and the threshold is below their share."""
    loop.bring(600, rent=np.where(np.random.default_rng(1).uniform(size=600) < 0.9, 400, 900))
    decision = loop.decide(loop.train())
    assert not decision.is_promoted
    assert "of a constant, not better by more than" in decision.reason


def test_a_regression_is_compared_with_the_mean_of_its_training_rows(loop: Loop) -> None:
    loop.correct('task = "classification"', 'task = "regression"')
    loop.correct('metric = "accuracy"', 'metric = "r2"')
    assert loop.decide(loop.train()).baseline_dummy == pytest.approx(0.0, abs=0.05)


def test_every_slice_is_recorded_and_one_below_the_floor_rejects(loop: Loop) -> None:
    """In the town B the rent has nothing to do with the size."""
    random = np.random.default_rng(4)
    towns, size = random.choice(["S", "B"], 600, p=[0.8, 0.2]), random.uniform(10, 100, 600).round(1)
    rents = np.where((size > 50) ^ ((towns == "B") & (random.uniform(size=600) < 0.5)), 900, 400)
    loop.bring(600, town=towns, size=size, rent=rents)
    run_id = loop.train()
    assert loop.decide(run_id).is_promoted
    slices = json.loads(loop.tracker.files[run_id, "slices.json"])
    assert {part["feature"] for part in slices} == {"size", "age", "town"}
    [town] = [part for part in slices if (part["feature"], part["part"]) == ("town", "= B")]
    assert "| town = B |" in loop.tracker.files[run_id, "model_card.md"].decode()

    loop.correct("threshold = 0.5", f"threshold = 0.5, slice_floor = 0.8, slice_rows = {town['rows']}")
    decision = loop.decide(run_id)
    assert not decision.is_promoted
    assert f"< 0.8 in the slice town = B ({town['rows']} rows)" in decision.reason
    loop.correct(f"slice_rows = {town['rows']}", f"slice_rows = {town['rows'] + 60}")
    assert loop.decide(run_id).is_promoted


def test_twelve_rows_wait_for_a_person(loop: Loop) -> None:
    loop.bring(12)
    decision = loop.decide(loop.train())
    assert (decision.is_promoted and decision.needs_approval) or not decision.is_promoted
    loop.bring(40)
    decision = loop.decide(loop.train())
    assert decision.is_promoted
    assert decision.needs_approval
    assert "too small a holdout to tell" in decision.reason


def test_different_models_on_one_snapshot_are_tries_and_a_repetition_is_none(loop: Loop) -> None:
    tries = [loop.decide(loop.train(C=value)).tries for value in (1.0, 0.1, 0.1)]
    assert tries == [1, 2, 2]
    loop.bring(310)
    assert loop.decide(loop.train(C=1.0)).tries == 1


@pytest.mark.parametrize(
    ("ways", "tries"),
    [
        ([("cluster", "2"), ("cluster", "4"), ("cluster", "4")], [1, 2, 2]),
        ([None, ("memory", "1"), ("external", "1")], [1, 1, 1]),
    ],
    ids=["another number of workers", "the same model"],
)
def test_a_fit_that_gives_another_model_is_a_try(
    loop: Loop, ways: Sequence[tuple[str, str] | None], tries: Sequence[int]
) -> None:
    found = []
    for way in ways:
        run_id = loop.train()
        run = loop.tracker.runs[run_id]
        told = {} if way is None else {FIT: way[0], WORKERS: way[1]}  # a run of an older release has none
        kept = {name: value for name, value in run.tags.items() if name not in {FIT, WORKERS}}
        loop.tracker.runs[run_id] = replace(run, tags=kept | told)
        found.append(loop.decide(run_id).tries)
    assert found == tries


def test_a_run_that_lost_to_another_one_is_a_try(loop: Loop) -> None:
    runs = [loop.train(C=value) for value in (1.0, 1e-6)]
    for run_id in runs:
        judging.evaluate(loop.workspace, run_id)
    best = selection.choose_best(loop.workspace, [f"runs:/{run_id}" for run_id in runs])
    assert best == f"runs:/{runs[0]}"
    assert loop.decide(runs[0]).tries == 2


type Correction = Callable[[Loop], None]


def become_regression(loop: Loop) -> None:
    loop.correct('task = "classification"', 'task = "regression"')
    loop.correct('metric = "accuracy"', 'metric = "r2"')


def rename_target(loop: Loop) -> None:
    loop.correct('target = "rent"', 'target = "town"')
    loop.correct('categorical = ["town"]', 'categorical = ["rent"]')
    loop.bring(town=np.where(np.random.default_rng(3).uniform(10, 100, 300).round(1) > 50, "S", "B"))


def change_kind(loop: Loop) -> None:
    loop.correct('numeric = ["size", "age"]', 'numeric = ["size"]')
    loop.correct('categorical = ["town"]', 'categorical = ["town", "age"]')


def remove_column(loop: Loop) -> None:
    loop.correct('numeric = ["size", "age"]', 'numeric = ["size"]')
    table = pd.read_csv(loop.folder / "rents.csv").drop(columns="age")
    table.to_csv(loop.folder / "rents.csv", index=False)


def name_classes(loop: Loop) -> None:
    table = pd.read_csv(loop.folder / "rents.csv").assign(rent=lambda rows: rows["rent"].map({400: "low", 900: "high"}))
    table.to_csv(loop.folder / "rents.csv", index=False)
    loop.correct("gate = {", 'checks = { columns = { rent = { allowed = ["low", "high"] } } }\ngate = {')


def turn_into_text(loop: Loop) -> None:
    """A column that the champion reads as a number is left out of the catalog, and holds texts."""
    loop.correct('numeric = ["size", "age"]', 'numeric = ["size"]')
    table = pd.read_csv(loop.folder / "rents.csv").assign(age="old")
    table.to_csv(loop.folder / "rents.csv", index=False)


CORRECTIONS = {
    become_regression: "it answers classes, and the task is regression now",
    rename_target: "it predicts rent, and the target is town now",
    change_kind: "it reads age as numeric, which is categorical now",
    remove_column: "it reads age, which the rows no longer have",
    name_classes: 'its classes are "high", "low"; the champion\'s are 400, 900',
    turn_into_text: "it cannot be measured (column age: found 68 texts, expected numbers",
}


@pytest.mark.parametrize(("correct", "problem"), CORRECTIONS.items())
def test_after_a_correction_of_the_catalog_a_person_decides(loop: Loop, correct: Correction, problem: str) -> None:
    champion = loop.promote()
    correct(loop)
    decision = loop.decide(loop.train())
    assert f"not comparable with version {champion}: {problem}" in decision.reason
    assert decision.is_promoted
    assert decision.needs_approval


@pytest.mark.parametrize("correct", [become_regression, rename_target, change_kind])
def test_a_run_of_before_a_correction_is_refused_with_the_next_step(loop: Loop, correct: Correction) -> None:
    run_id = loop.train()
    version = judging.register(loop.workspace, run_id, is_judged=False)
    correct(loop)
    for step in (
        lambda: judging.evaluate(loop.workspace, run_id),
        lambda: judging.decide(loop.workspace, run_id),
        lambda: selection.judge_pending(loop.workspace, "rents", version),
    ):
        with pytest.raises(GateError, match="present catalog, which was corrected; train again"):
            step()
    choice = selection.compare_pending(loop.workspace, "rents")
    assert not choice.is_better
    assert "train again" in choice.reason


def test_a_run_that_held_out_other_rows_is_refused(loop: Loop) -> None:
    run_id = loop.train()
    loop.correct("gate = {", "holdout = { seed = 5 }\ngate = {")
    with pytest.raises(GateError, match="another rule for the holdout, so it may have trained on these rows"):
        judging.decide(loop.workspace, run_id)


@pytest.mark.parametrize("feature", ["floor", "rooms"])
def test_a_run_of_before_a_new_feature_is_refused(loop: Loop, feature: str) -> None:
    """The table has rooms, which the catalog did not name; it has no floor."""
    loop.bring(rooms=["two"] * 300)
    run_id = loop.train()
    loop.correct('numeric = ["size", "age"]', f'numeric = ["size", "age", "{feature}"]')
    with pytest.raises(GateError, match=f"found .*{feature}.*; train again"):
        judging.decide(loop.workspace, run_id)


def test_a_run_that_no_training_made_is_refused(loop: Loop) -> None:
    loop.tracker.runs["foreign"] = RunRecord("foreign", "FINISHED", {}, {}, {"dataset": "rents"})
    for step in (judging.evaluate, judging.decide, judging.register):
        with pytest.raises(GateError):
            step(loop.workspace, "foreign")


def test_a_class_that_a_file_brings_is_a_change_for_clients_that_somebody_must_allow(loop: Loop) -> None:
    loop.promote()
    rents = pd.read_csv(loop.folder / "rents.csv")["rent"].astype(str)
    loop.bring(rent=rents.where(np.arange(300) % 10 > 0, "maybe"))
    run_id = loop.train()
    decision = loop.decide(run_id)
    assert not decision.is_promoted
    assert decision.reason == 'its classes are "400", "900", "maybe"; the champion\'s are 400, 900'
    assert loop.decide(run_id, force=True).is_promoted
    spec = OnnxModel(loop.tracker.files[run_id, "candidate"]).spec
    assert spec.classes == ["400", "900", "maybe"]


def test_small_losses_to_one_champion_after_another_are_counted_from_the_best(loop: Loop) -> None:
    """Each model loses less than 0.3 to the one before; the third one loses more than that to the first."""
    loop.correct("threshold = 0.5", "threshold = 0.5, largest_regression = 0.3")
    first = loop.promote()
    loop.bring(320)
    second = loop.train(C=0.01)
    decision = loop.decide(second, trigger="data")
    assert decision.is_promoted
    assert decision.best_version == first
    loop.tracker.aliases["champion"] = judging.register(loop.workspace, second)
    loop.bring(330)
    decision = loop.decide(loop.train(C=0.003), trigger="data")
    assert decision.difference is not None
    assert -0.3 < decision.difference < 0
    assert not decision.is_promoted
    assert f"of version {first}, the best champion so far, worse by more than 0.3" in decision.reason


def test_a_champion_whose_record_is_spoilt_stops_no_training(loop: Loop) -> None:
    loop.promote()
    made = loop.tracker.versions[0]
    for tags in ({}, {"holdout_id": ""}, {**made.tags, "gate.decision": "{"}, {**made.tags, "gate.decision": "[1]"}):
        loop.tracker.versions[0] = replace(made, tags=tags)
        assert loop.decide(loop.train()).champion_version == "1"
