from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from ml_code.errors import GateError
from ml_code.gate import selection
from ml_code.tracking import RunRecord
from ml_code.workspace import Workspace

TAGS = {"dataset": "iris", "holdout_id": "rule", "dataset_version": "rows", "estimator": "random_forest"}


class FakeTracker:
    """Runs by their ids."""

    def __init__(self, **runs: RunRecord) -> None:
        self.runs = runs
        self.tagged: dict[str, Mapping[str, str]] = {}

    def log(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.tagged[run_id] = tags

    def read_run(self, run_id: str) -> RunRecord:
        return self.runs[run_id]


def make_run(metrics: dict[str, float], **tags: str) -> RunRecord:
    return RunRecord("run", "FINISHED", {}, metrics, TAGS | tags)


def choose(workspace: Workspace, *runs: RunRecord) -> str:
    named = {f"run{number}": run for number, run in enumerate(runs)}
    found = {name: RunRecord(name, run.status, run.params, run.metrics, run.tags) for name, run in named.items()}
    shipped = workspace.settings.model_copy(update={"catalog_dir": None})
    opened = Workspace(shipped, connect_tracker=lambda _: FakeTracker(**found))
    return selection.choose_best(opened, [f"runs:/{name}" for name in found])


def test_the_run_with_the_best_score_is_chosen_and_the_first_of_equal_ones(workspace: Workspace) -> None:
    runs = [make_run({"accuracy": accuracy}) for accuracy in (0.90, 0.95, 0.95)]
    assert choose(workspace, *runs) == "runs:/run1"


@pytest.mark.parametrize("metrics", [{}, {"accuracy": math.nan}])
def test_a_run_without_a_score_is_named_and_not_chosen(workspace: Workspace, metrics: dict[str, float]) -> None:
    with pytest.raises(GateError, match=r"runs \['run0'\]: found no accuracy"):
        choose(workspace, make_run(metrics), make_run({"accuracy": 0.9}))


def test_runs_that_held_out_other_rows_are_not_compared(workspace: Workspace) -> None:
    runs = [make_run({"accuracy": 0.9}), make_run({"accuracy": 0.9}, holdout_id="another")]
    with pytest.raises(GateError, match="several holdouts"):
        choose(workspace, *runs)
