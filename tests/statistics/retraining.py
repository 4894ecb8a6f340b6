"""Simulated worlds that change: what the steps of a retraining, its gate and its trainings make of them.

Only MLflow and the warehouse are fakes, and no plots are drawn. Every draw has a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_code.data import snapshots
from ml_code.gate import judging
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.monitoring.retraining import steps, trigger
from ml_code.training import run
from ml_code.training.plans import RunOrigin
from ml_code.workspace import Workspace
from tests.log_rows import make_rows, write_log
from tests.offline_settings import make_offline_settings
from tests.unit.ml_code.gate.rents import FakeTracker
from tests.unit.ml_code.monitoring.retraining.changed_world import draw_rows, make_world
from tests.unit.ml_code.monitoring.retraining.retraining_warehouse import RetrainingWarehouse

CATALOG = """
name = "world"
task = "classification"
target = "label"
numeric = ["a", "b", "c", "d"]
source = { kind = "file", path = "world.csv" }
gate = { metric = "accuracy", threshold = 0.6 }
"""
FEATURES = ["a", "b", "c", "d"]
HEAD = Head("world", "1", "champion", "live", "classification", FEATURES, ["numeric"] * 4)
HOUR = timedelta(hours=1)
OLD_ROWS, FRESH_ROWS = 3000, 3000
FAR = 12.0
"""Rows moved by so many standard deviations are where no old row is."""

BEFORE = make_world(1.5)
TURNED = make_world(-0.5)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a retraining ended, and its version's gain of accuracy over the champion on fresh rows; 0 without one."""

    outcome: str
    gain: float
    reason: str


class ChangedWorld:
    """A model of old rows that serves, and the log of its answers."""

    def __init__(self, folder: Path, old: pd.DataFrame) -> None:
        (folder / "world.toml").write_text(CATALOG)
        old.to_csv(folder / "world.csv", index=False)
        settings = make_offline_settings(
            folder / "datasets", catalog_dir=folder, predictions_uri=str(folder / "predictions")
        )
        self.tracker: Any = FakeTracker()
        self.warehouse: Any = RetrainingWarehouse()
        self.workspace = Workspace(
            settings, connect_tracker=lambda _: self.tracker, connect_warehouse=lambda _: self.warehouse
        )
        self._start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 12 * HOUR
        uri = snapshots.prepare(self.workspace, "world")
        run_id = run.train(
            self.workspace, "world", uri, "sklearn", "random_forest", hyperparameters={"n_estimators": 40}
        )
        judging.evaluate(self.workspace, run_id)
        judging.decide(self.workspace, run_id, force=True)
        self.serve(judging.register(self.workspace, run_id))

    def serve(self, version: str) -> None:
        """The version serves, and two days pass without a window."""
        self.tracker.aliases["champion"] = version
        self.warehouse.windows = []
        for attempt in self.warehouse.attempts:
            attempt["asked_at"] -= timedelta(days=2)

    def answer(self, rows: pd.DataFrame) -> None:
        """Logs answers and their labels in two windows that drift."""
        start, self._start = self._start, self._start + 3 * HOUR
        pause = 2 * HOUR / len(rows)
        first = int(start.timestamp())
        made = make_rows(rows[FEATURES].to_numpy().tolist(), [0] * len(rows), start=start, pause=pause, first=first)
        write_log(self.workspace, HEAD, made, name=f"batch-{first}")
        figures = {"drifted": ["a"], "faults": []}
        windows = [(start + HOUR, start + 2 * HOUR), (start, start + HOUR)]
        self.warehouse.windows = [(*window, "drift", len(rows), None, figures, None) for window in windows]
        times = [datetime.fromtimestamp(row.time_ms / 1000, UTC) for row in made]
        for window_start, window_end in windows:
            events = [
                {
                    "request_id": bytes.fromhex(row.request_id),
                    "row": 0,
                    "time": time,
                    "label": str(label),
                    "received_at": datetime.now(UTC),
                    "source": "feedback",
                    "event": bytes.fromhex(row.request_id),
                }
                for row, time, label in zip(made, times, rows["label"], strict=True)
                if window_start <= time < window_end
            ]
            table = pa.Table.from_pylist(events, schema=STORED)
            write_events(self.workspace, "world", window_start, f"batch-{first}", table)

    def retrain(self, fresh: pd.DataFrame) -> Outcome:
        """Asks, trains and judges as the tasks do."""
        owner = f"model_retraining/{len(self.warehouse.attempts)}/world"
        answer = trigger.ask(self.workspace, "world", owner)
        assert answer.begins, answer.says
        runs = steps.train_mixes(self.workspace, owner, RunOrigin("model_retraining", owner, "train"))
        judged = steps.decide(self.workspace, owner, runs)
        gain = self.measure(judged.version, fresh) - self.measure("1", fresh) if judged.version else 0.0
        return Outcome(judged.outcome, gain, judged.decision.reason)

    def measure(self, version: str, rows: pd.DataFrame) -> float:
        model = OnnxModel(self.tracker.read_model_file("world", version))
        found = model.predict_columns({name: rows[name].tolist() for name in FEATURES}).values
        return float(np.mean(np.asarray(found) == rows["label"].to_numpy()))


def turn_round(seed: int) -> Outcome:
    """The relation of the first feature to the label turns round; 1,000 labels tell of it."""
    with build_world(draw_rows(BEFORE, OLD_ROWS, seed)) as world:
        world.answer(draw_rows(TURNED, 1000, seed + 1000))
        return world.retrain(draw_rows(TURNED, FRESH_ROWS, seed + 2000))


def poison(seed: int, labels: int = 1000, share: float = 1.0) -> Outcome:
    """The world is as before, but the labels are turned round: all of them, or those of one of two windows."""
    with build_world(draw_rows(BEFORE, OLD_ROWS, seed)) as world:
        rows = draw_rows(BEFORE, labels, seed + 1000)
        is_wrong = np.arange(labels) < share * labels
        world.answer(rows.assign(label=np.where(is_wrong, 1 - rows["label"], rows["label"])))
        return world.retrain(draw_rows(BEFORE, FRESH_ROWS, seed + 2000))


def move_away(seed: int) -> Outcome:
    """The rows move to where no old row is, and there the labels are other ones."""
    with build_world(draw_rows(BEFORE, 1000, seed)) as world:
        return _move(world, seed)


def poison_what_moved(seed: int) -> Outcome:
    """The rows moved and were learned; then the labels there are turned round. No row of a file contradicts them."""
    with build_world(draw_rows(BEFORE, 1000, seed)) as world:
        first = _move(world, seed)
        if first.outcome != "promoted":
            return first
        world.serve("2")
        rows = draw_rows(_label_far, 600, seed + 3000, shift=FAR)
        world.answer(rows.assign(label=1 - rows["label"]))
        return world.retrain(draw_rows(_label_far, FRESH_ROWS, seed + 4000, shift=FAR))


def count(worlds: Callable[[int], Outcome], seeds: range) -> dict[str, float]:
    """Shares of the worlds by their outcome, and of those that are held with a gain of five points."""
    found = [worlds(seed) for seed in seeds]
    shares = {name: sum(one.outcome == name for one in found) / len(found) for name in ("promoted", "held", "rejected")}
    better = [one for one in found if one.outcome == "held" and one.gain >= 0.05]
    return {**shares, "held and better": len(better) / len(found)}


@contextmanager
def build_world(old: pd.DataFrame) -> Iterator[ChangedWorld]:
    with (
        TemporaryDirectory() as folder,
        patch("ml_code.gate.judging._draw_plots", lambda *_: {}),
        patch("ml_code.training.plots.draw_importances", lambda *_: None),
    ):
        yield ChangedWorld(Path(folder), old)


def list_worlds(worlds: int = 100) -> Iterator[tuple[list[str], bool]]:
    """A row of shares for each kind of world, and whether it meets the limit: nothing poisoned is promoted."""
    for name, (kind, is_met) in KINDS.items():
        shares = count(kind, range(100, 100 + worlds))
        yield [name, *(f"{share:.0%}" for share in shares.values())], is_met(shares)


def _move(world: ChangedWorld, seed: int) -> Outcome:
    world.answer(draw_rows(_label_far, 600, seed + 1000, shift=FAR))
    return world.retrain(draw_rows(_label_far, FRESH_ROWS, seed + 2000, shift=FAR))


def _label_far(frame: pd.DataFrame, random: np.random.Generator) -> Any:
    return (frame["b"] < FAR).to_numpy().astype(int)


def _is_held(shares: Mapping[str, float]) -> bool:
    return shares["held and better"] >= 0.95


def _is_promoted(shares: Mapping[str, float]) -> bool:
    return shares["promoted"] >= 0.95


def _is_never_promoted(shares: Mapping[str, float]) -> bool:
    return shares["promoted"] == 0.0


TITLES = ["world", "promoted", "held", "rejected", "held with a gain of five points"]
KINDS: Mapping[str, tuple[Callable[[int], Outcome], Callable[[Mapping[str, float]], bool]]] = {
    "the relation turns round, 1,000 labels": (turn_round, _is_held),
    "1,000 labels turned round": (poison, _is_never_promoted),
    "200 labels turned round": (lambda seed: poison(seed, 200), _is_never_promoted),
    "the labels of one of two windows turned round": (lambda seed: poison(seed, share=0.5), _is_never_promoted),
    "rows move to where no old row is, 600 labels": (move_away, _is_promoted),
    "the same, then 600 labels turned round there": (poison_what_moved, _is_never_promoted),
}
