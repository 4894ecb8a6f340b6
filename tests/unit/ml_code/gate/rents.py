"""A table of rents, its file in the catalog, and the steps from a training to a version, with MLflow as a fake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml_code.data import snapshots
from ml_code.gate import judging
from ml_code.gate.decision import Decision
from ml_code.settings import Settings
from ml_code.tracking import RunRecord, VersionRecord
from ml_code.training import run
from ml_code.workspace import Workspace
from tests.unit.ml_code.verdicts_warehouse import VerdictsWarehouse

RENTS = """
name = "rents"
task = "classification"
target = "rent"
numeric = ["size", "age"]
categorical = ["town"]
key = "id"
source = { kind = "file", path = "rents.csv" }
gate = { metric = "accuracy", threshold = 0.5 }
"""


class FakeTracker:
    """Runs, files and versions of one MLflow, in memory."""

    def __init__(self) -> None:
        self.runs: dict[str, RunRecord] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.versions: list[VersionRecord] = []
        self.aliases: dict[str, str] = {}

    def find_or_create_run(self, experiment: str, key: str | None, name: str, tags: Mapping[str, str]) -> RunRecord:
        made = RunRecord(f"run{len(self.runs)}", "RUNNING", {}, {}, dict(tags))
        self.runs[made.run_id] = made
        return made

    def read_run(self, run_id: str) -> RunRecord:
        return self.runs[run_id]

    def log(self, run_id: str, **what: Mapping[str, Any]) -> None:
        before = self.runs[run_id]
        logged = {name: {**getattr(before, name), **what.get(name, {})} for name in ("params", "metrics", "tags")}
        self.runs[run_id] = replace(before, **logged)

    def log_text(self, run_id: str, name: str, text: str) -> None:
        self.files[run_id, name] = text.encode()

    def log_candidate(self, run_id: str, content: bytes) -> None:
        self.files[run_id, "candidate"] = content

    def log_baseline(self, run_id: str, content: bytes) -> None:
        self.files[run_id, "baseline"] = content

    def read_candidate(self, run: RunRecord) -> bytes:
        return self.files[run.run_id, "candidate"]

    def read_baseline(self, run: RunRecord) -> bytes | None:
        return self.files.get((run.run_id, "baseline"))

    def list_similar_runs(self, run_id: str, tags: Mapping[str, str]) -> list[RunRecord]:
        return [found for found in self.runs.values() if tags.items() <= found.tags.items()]

    def read_aliases(self, name: str) -> dict[str, str]:
        return self.aliases

    def list_versions(self, name: str, run_id: str | None = None) -> list[VersionRecord]:
        return [made for made in reversed(self.versions) if run_id in {None, made.run_id}]

    def read_version(self, name: str, version: str) -> VersionRecord:
        return self.versions[int(version) - 1]

    def read_model_file(self, name: str, version: str) -> bytes:
        return self.files[self.read_version(name, version).run_id, "candidate"]

    def tag_version(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        made = self.read_version(name, version)
        self.versions[int(version) - 1] = replace(made, tags={**made.tags, **tags})

    def register(self, name: str, run_id: str, content: bytes, example: pd.DataFrame, tags: Mapping[str, str]) -> str:
        self.versions.append(VersionRecord(name, str(len(self.versions) + 1), run_id, tags))
        return str(len(self.versions))

    def __getattr__(self, name: str) -> Any:
        """Pictures, datasets, the fitted pipeline and the end of the run go nowhere."""
        return lambda *_, **__: None


class Loop:
    """A table of rents, its file in the catalog, and the steps from a training to a version."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.tracker = folder, FakeTracker()
        self.workspace = Workspace(
            settings,
            connect_tracker=lambda _: self.tracker,  # type: ignore[arg-type, return-value]
            connect_warehouse=lambda _: VerdictsWarehouse(),  # type: ignore[arg-type, return-value]
        )
        self.write(RENTS)
        self.bring()

    def write(self, text: str) -> None:
        (self.folder / "rents.toml").write_text(text)

    def correct(self, old: str, new: str) -> None:
        text = (self.folder / "rents.toml").read_text()
        assert old in text
        self.write(text.replace(old, new))

    def bring(self, rows: int = 300, **columns: object) -> None:
        """Writes the table: the rent follows from the size."""
        random = np.random.default_rng(3)
        size = random.uniform(10, 100, rows).round(1)
        cells = {
            "id": range(rows),
            "size": size,
            "age": random.integers(0, 50, rows),
            "town": random.choice(["S", "B"], rows),
            "rent": np.where(size > 50, 900, 400),
        }
        frame = pd.DataFrame(cells | columns)
        frame.to_csv(self.folder / "rents.csv", index=False)

    def train(self, estimator: str = "linear", **hyperparameters: object) -> str:
        uri = snapshots.prepare(self.workspace, "rents")
        return run.train(self.workspace, "rents", uri, "sklearn", estimator, hyperparameters=hyperparameters)

    def decide(self, run_id: str, **how: Any) -> Decision:
        judging.evaluate(self.workspace, run_id)
        return judging.decide(self.workspace, run_id, **how)

    def promote(self) -> str:
        """Trains, and makes the version the champion."""
        run_id = self.train()
        assert self.decide(run_id).is_promoted
        self.tracker.aliases["champion"] = judging.register(self.workspace, run_id)
        return self.tracker.aliases["champion"]
