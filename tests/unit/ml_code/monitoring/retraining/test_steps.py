"""An attempt from the call to the version and its reference, with MLflow and the warehouse as fakes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml_code.data import snapshots
from ml_code.data.live_rows import find_live
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.monitoring.retraining import asking, steps
from ml_code.training.plans import RunOrigin
from ml_code.workspace import Workspace
from tests.log_rows import make_rows, write_log
from tests.offline_settings import make_offline_settings
from tests.unit.ml_code.gate.rents import FakeTracker, Loop
from tests.unit.ml_code.monitoring.retraining.retraining_warehouse import RetrainingWarehouse

HOUR = timedelta(hours=1)
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 3 * HOUR
OWNER = "model_retraining/run/rents"


class World(Loop):
    """Rents, whose live rows and labels are in a folder."""

    def __init__(self, folder: Path) -> None:
        settings = make_offline_settings(
            folder / "datasets", catalog_dir=folder, predictions_uri=str(folder / "predictions")
        )
        super().__init__(folder, settings)
        self.warehouse = RetrainingWarehouse()
        self.tracker = FakeTracker()
        self.workspace = Workspace(
            settings,
            connect_tracker=lambda _: self.tracker,  # type: ignore[arg-type, return-value]
            connect_warehouse=lambda _: self.warehouse,  # type: ignore[arg-type, return-value]
        )
        self.promote()

    def train(self, estimator: str = "random_forest", **hyperparameters: object) -> str:
        return super().train(estimator, n_estimators=20, **hyperparameters)

    def answer(self, rows: int = 400, *, is_turned: bool = False) -> None:
        """Logs labelled rows of two windows: houses larger than any before, which are cheap; or wrong labels."""
        random = np.random.default_rng(5)
        size = random.uniform(10, 100, rows) + (0 if is_turned else 500)
        is_dear = size < 50 if is_turned else size < 560  # by the old rows every house above 50 is dear
        labels = np.where(is_dear, 900, 400)
        ages = random.integers(0, 50, rows)
        cells = [[float(number), float(age), "S"] for number, age in zip(size, ages, strict=True)]
        head = Head(
            "rents",
            "1",
            "champion",
            "live",
            "classification",
            ["size", "age", "town"],
            ["numeric"] * 2 + ["categorical"],
        )
        made = make_rows(cells, ["900"] * rows, start=START, pause=timedelta(seconds=10))
        write_log(self.workspace, head, made)
        self.label([row.request_id for row in made], labels)
        windows = [(START + HOUR, START + 2 * HOUR), (START, START + HOUR)]
        self.warehouse.windows = [
            (*window, "drift", 200, None, {"drifted": ["size"], "faults": []}, None) for window in windows
        ]

    def label(self, names: list[str], labels: Any) -> None:
        times = [datetime.fromtimestamp(int(name[:12], 16) / 1000, UTC) for name in names]
        for hour in sorted({time.replace(minute=0, second=0, microsecond=0) for time in times}):
            chosen = [place for place, time in enumerate(times) if hour <= time < hour + HOUR]
            ids = [bytes.fromhex(names[place]) for place in chosen]
            events = {
                "request_id": ids,
                "row": [0] * len(ids),
                "time": [times[place] for place in chosen],
                "label": [str(labels[place]) for place in chosen],
                "observed_at": [None] * len(ids),
                "received_at": [datetime.now(UTC)] * len(ids),
                "token": [None] * len(ids),
                "source": ["feedback"] * len(ids),
                "event": ids,
            }
            write_events(self.workspace, "rents", hour, "batch", pa.table(events, schema=STORED))

    def retrain(self) -> steps.Judged:
        answer = asking.ask(self.workspace, "rents", OWNER)
        assert answer.begins, answer.says
        return steps.decide(self.workspace, OWNER, self.train_mixes())

    def train_mixes(self) -> list[str]:
        return steps.train_mixes(self.workspace, OWNER, RunOrigin("model_retraining", "run", "train"))

    def read(self) -> pd.DataFrame:
        return snapshots.read_snapshot(self.workspace, snapshots.prepare(self.workspace, "rents"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_rows_that_moved_are_learned_promoted_and_count_from_now_on(world: World) -> None:
    world.answer()
    judged = world.retrain()
    assert judged.outcome == "promoted", judged.decision.reason
    assert find_live(world.read()).sum() == 400
    assert world.warehouse.attempts[0]["version"] == judged.version
    again = asking.ask(world.workspace, "rents", "another run")
    assert not again.begins
    assert "may begin a day later" in again.says


def test_labels_that_contradict_old_rows_wait_and_count_once_their_version_serves(world: World) -> None:
    world.answer(is_turned=True)
    judged = world.retrain()
    assert judged.outcome == "held", judged.decision.reason
    assert not find_live(world.read()).any()
    assert asking.settle(world.workspace) == []
    world.tracker.aliases["champion"] = judged.version
    assert len(asking.settle(world.workspace)) == 1
    assert find_live(world.read()).sum() == 400
    assert world.warehouse.attempts[0]["outcome"] == "promoted"


def test_a_rollout_is_in_the_way(world: World) -> None:
    world.answer()
    world.warehouse.rollout = "rollout", "9"
    answer = asking.ask(world.workspace, "rents", OWNER)
    assert (answer.begins, answer.is_notice) == (False, True)
    assert "a rollout to version 9 is under way" in answer.says


def test_a_window_with_faults_is_in_the_way(world: World) -> None:
    world.answer()
    start, end, _, *rest = world.warehouse.windows[0]
    world.warehouse.windows.insert(0, (start + HOUR, end + HOUR, "quality", *rest))
    assert not asking.ask(world.workspace, "rents", OWNER).begins


def test_a_held_version_whose_rollout_was_aborted_is_in_nobodys_way(world: World) -> None:
    world.answer(is_turned=True)
    judged = world.retrain()
    assert judged.version
    [record] = [made for made in world.tracker.versions if made.version == judged.version]
    record.tags["rollout"] = "aborted"  # type: ignore[index]  # what anybody in MLflow may write
    assert asking.settle(world.workspace) == []
    world.warehouse.verdicts[judged.version] = "aborted"
    [found] = asking.settle(world.workspace)
    assert "was not approved" in found
    assert world.warehouse.attempts[0]["outcome"] == "rejected"
    assert not find_live(world.read()).any()
