"""Rents in a retraining: their log, labels and windows in a folder, with MLflow and the warehouse as fakes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_code.data import snapshots
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.monitoring.retraining import steps, trigger
from ml_code.training.plans import RunOrigin
from ml_code.training.reference import read_reference
from ml_code.workspace import Workspace
from tests.log_rows import make_rows, write_log
from tests.offline_settings import make_offline_settings
from tests.unit.ml_code.gate.rents import FakeTracker, Loop
from tests.unit.ml_code.monitoring.retraining.retraining_warehouse import RetrainingWarehouse

HOUR = timedelta(hours=1)
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 3 * HOUR
OWNER = "model_retraining/run/rents"


class ReferenceTracker(FakeTracker):
    """Keeps the references of runs too."""

    def log_reference(self, run_id: str, content: bytes) -> None:
        self.files[run_id, "reference"] = content

    def read_sizes(self, version: str) -> Any:
        """The sizes of the houses in a version's reference."""
        reference = read_reference(self.files[self.read_version("rents", version).run_id, "reference"])
        return pc.struct_field(reference.rows["features"], "size").to_numpy()


class World(Loop):
    """Rents, whose live rows and labels are in a folder."""

    def __init__(self, folder: Path) -> None:
        settings = make_offline_settings(
            folder / "datasets", catalog_dir=folder, predictions_uri=str(folder / "predictions")
        )
        super().__init__(folder, settings)
        self.warehouse = RetrainingWarehouse()
        self.tracker = ReferenceTracker()
        self.workspace = Workspace(
            settings,
            connect_tracker=lambda _: self.tracker,  # type: ignore[arg-type, return-value]
            connect_warehouse=lambda _: self.warehouse,  # type: ignore[arg-type, return-value]
        )
        self.promote()

    def train(self, estimator: str = "random_forest", **hyperparameters: object) -> str:
        return super().train(estimator, n_estimators=20, **hyperparameters)

    def answer(
        self,
        rows: int = 400,
        *,
        is_turned: bool = False,
        start: datetime = START,
        is_usual: bool = False,
        far: int = 560,
    ) -> None:
        """Logs labelled rows of two windows: houses larger than any before, which are cheap; or wrong labels.

        Houses of the usual sizes have their usual rents. A house that is `far` or larger is cheap.
        """
        random = np.random.default_rng(5)
        size = random.uniform(10, 100, rows) + (0 if is_turned or is_usual else 500)
        is_dear = size < 50 if is_turned else size < far  # by the old rows every house above 50 is dear
        labels = np.where(size > 50 if is_usual else is_dear, 900, 400)
        ages = random.integers(0, 50, rows)
        cells = [[float(number), float(age), "S"] for number, age in zip(size, ages, strict=True)]
        self.log(cells, labels, start)
        self.judge((start, HOUR, "drift"), (start + HOUR, HOUR, "drift"))

    def log(
        self, cells: list[list[Any]], labels: Any, start: datetime, *, pause: timedelta = timedelta(seconds=10)
    ) -> None:
        head = Head(
            "rents",
            self.tracker.aliases["champion"],
            "champion",
            "live",
            "classification",
            ["size", "age", "town"],
            ["numeric"] * 2 + ["categorical"],
        )
        first = 1000 * sum(1 for _ in self.folder.rglob("log/**/*.parquet"))
        made = make_rows(cells, ["900"] * len(cells), start=start, pause=pause, first=first)
        write_log(self.workspace, head, made, name=f"batch-{first}")
        self.label([row.request_id for row in made], labels)

    def judge(self, *windows: tuple[datetime, timedelta, str]) -> None:
        """Judges windows, the oldest first."""
        figures = {"drifted": ["size"], "faults": []}
        found = [(start, start + length, verdict, 200, None, figures, None) for start, length, verdict in windows]
        self.warehouse.windows = found[::-1]

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
            write_events(self.workspace, "rents", hour, names[0], pa.table(events, schema=STORED))

    def retrain(self, owner: str = OWNER) -> steps.Judged:
        answer = trigger.ask(self.workspace, "rents", owner)
        assert answer.begins, answer.says
        runs = steps.train_mixes(self.workspace, owner, RunOrigin("model_retraining", owner, "train"))
        return steps.decide(self.workspace, owner, runs)

    def serve(self, version: str) -> None:
        """The rollout of a version ends well, and two days pass."""
        self.tracker.aliases["champion"] = version
        self.warehouse.windows = []
        for attempt in self.warehouse.attempts:
            attempt["asked_at"] -= timedelta(days=2)

    def read(self) -> pd.DataFrame:
        return snapshots.read_snapshot(self.workspace, snapshots.prepare(self.workspace, "rents"))
