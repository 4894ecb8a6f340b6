"""A stack without servers: objects in folders, and a registry and a warehouse in memory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ml_code
from ml_code.errors import WarehouseError
from ml_code.housekeeping import cleaning
from ml_code.tracking import DatedVersion, VersionRecord
from ml_code.workspace import Workspace
from tests.offline_settings import make_offline_settings

CATALOG = Path(ml_code.__file__).parent / "catalog"
NOW = datetime(2026, 11, 20, 4, 30, tzinfo=UTC)


@dataclass
class Registry:
    """Versions, their aliases and the tags of runs."""

    versions: dict[str, list[DatedVersion]] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    runs: list[Mapping[str, str]] = field(default_factory=list)

    def make(self, model: str, count: int, made_at: datetime, **tags: str) -> None:
        """Adds versions, each a minute after the one before; `{}` in a tag becomes the version's number."""
        known = self.versions.setdefault(model, [])
        first = max((int(version.version) for version in known), default=0) + 1
        for number in range(first, first + count):
            filled = {name.replace("__", "."): text.replace("{}", str(number)) for name, text in tags.items()}
            known.append(DatedVersion(model, str(number), made_at + timedelta(minutes=number), filled))

    def list_numbers(self, model: str) -> list[str]:
        return [version.version for version in self.versions.get(model, [])]

    def list_dated_versions(self, name: str) -> list[DatedVersion]:
        return sorted(self.versions.get(name, []), key=lambda version: int(version.version), reverse=True)

    def list_values_of_versions(self, tag: str) -> set[str]:
        return {version.tags[tag] for made in self.versions.values() for version in made if tag in version.tags}

    def list_values_of_runs(self, tag: str) -> set[str]:
        return {run[tag] for run in self.runs if tag in run}

    def read_aliases(self, name: str) -> dict[str, str]:
        return dict(self.aliases.get(name, {}))

    def read_version(self, name: str, version: str) -> VersionRecord:
        found = next(made for made in self.versions[name] if made.version == version)
        return VersionRecord(name, version, "", found.tags)

    def delete_version(self, name: str, version: str) -> None:
        self.versions[name] = [made for made in self.versions[name] if made.version != version]


@dataclass
class Rows:
    """The tables that housekeeping reads and writes."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_use: dict[str, list[str | None]] = field(default_factory=dict)
    collections: dict[str, datetime] = field(default_factory=dict)
    clock: datetime | None = None
    is_locked: bool = False
    held: list[str] = field(default_factory=list)
    _found: list[tuple[Any, ...]] = field(default_factory=list)

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        yield self

    @contextmanager
    def cursor(self) -> Iterator[Rows]:
        yield self

    def execute(self, statement: str, values: Any = ()) -> None:
        if "INSERT INTO warehouse.housekeeping" in statement:
            self._begin(values)
        elif statement.startswith("UPDATE warehouse.housekeeping"):
            self.runs[values[1]]["planned"] = json.loads(values[0])
        elif "FROM warehouse.housekeeping" in statement:
            run = self.runs[values[0]]
            self._found = [(values[0], run["clock"], run["is_dry"])]
        elif statement.startswith("SELECT collection, began_at"):
            newest = max(self.collections.values(), default=None)
            self._found = [(name, began_at, began_at == newest) for name, began_at in self.collections.items()]
        elif statement.startswith("DELETE FROM warehouse.prediction_collection"):
            del self.collections[values[0]]
        elif "pg_try_advisory_xact_lock" in statement:
            self._found = [(not self.is_locked,)]
        elif "warehouse.rollout" in statement:
            self._found = [(version,) for version in self.in_use.get(values["model"], [])]
        elif "pg_advisory_xact_lock" in statement:
            self.held.append(values[0])
        elif statement == "SELECT 1" and self.is_locked:
            raise WarehouseError("the connection broke")

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._found[0] if self._found else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._found

    def _begin(self, values: Mapping[str, Any]) -> None:
        if values["owner"] in self.runs:
            return
        clocks = [values["now"], self.clock or values["now"]]
        if self.runs:
            clocks.append(max(run["clock"] for run in self.runs.values()) + timedelta(days=values["days"]))
        self.runs[values["owner"]] = {"clock": min(clocks), "is_dry": values["is_dry"] or not self.runs}


class World:
    """A stack whose objects have the age that a test gives them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.registry, self.rows = Registry(), Rows()
        places = {
            "datasets_uri": str(folder / "store/datasets"),
            "predictions_uri": str(folder / "store/predictions"),
            "task_logs_uri": str(folder / "store/task-logs"),
        }
        self.folder = folder / "store"
        catalog = folder / "catalog"
        catalog.mkdir(parents=True)
        shutil.copy(CATALOG / "iris.toml", catalog)
        made = make_offline_settings(folder / "datasets", catalog_dir=catalog).model_copy(update=places | settings)
        self.workspace = Workspace(
            made,
            connect_tracker=lambda _: self.registry,  # type: ignore[arg-type,return-value]
            connect_warehouse=lambda _: self.rows,  # type: ignore[arg-type,return-value]
        )
        self.began = 0

    def put(self, name: str, days_old: float, size: int = 100, now: datetime = NOW) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        moment = (now - timedelta(days=days_old)).timestamp()
        os.utime(path, (moment, moment))
        return path

    def clean(self, now: datetime = NOW, **options: Any) -> dict[str, int]:
        """One run with its plan; what each rule deleted."""
        self.began += 1
        owner = f"run-{self.began}"
        planned = cleaning.plan(self.workspace, owner, now, **options)
        done = {rule: cleaning.delete(self.workspace, owner, rule) for rule in planned}
        return {rule: deleted.entries for rule, deleted in done.items() if deleted is not None}

    def start(self, now: datetime = NOW) -> World:
        """Makes the first run, which is dry."""
        assert self.clean(now) == {}
        return self

    def list_files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def measure(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
