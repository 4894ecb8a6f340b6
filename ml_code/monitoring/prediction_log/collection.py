"""Moves finished segments of the prediction log into the store, each row exactly once.

Under a lock, the free segments are moved into a folder, which is the batch. Names and bytes of its objects follow from
that folder alone, so a collection that is interrupted anywhere is repeated by the next one and replaces its objects by
the same. The folder is renamed before it is deleted: a folder of which half is deleted must not be processed again.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_code.errors import SettingsError
from ml_code.monitoring.prediction_log.blocks import REFUSED, REQUESTS_FORMAT, SHADOW
from ml_code.monitoring.prediction_log.tables import Part, Parts, list_repeating
from ml_code.segments import Lines, take_free, write_synced
from ml_code.workspace import Workspace

DONE = "done-"
"""Prefix of a folder whose rows lie in the store: it only waits to be deleted."""

TAKING = "taking"
"""Name of a batch while segments are moved into it."""

GROUP_BYTES = 32_000_000
"""Segments that are read at once: one of full size. They take four times as much memory."""

STAMP = "%Y%m%dT%H%M%S.%fZ"
"""The name of a batch is the moment at which its collection began."""

BATCH = re.compile(r"\d{8}T\d{6}\.\d{6}Z(_\d+)?")
"""The names of batches: what else a replica may have left there is no batch."""

KEPT = f".format{REQUESTS_FORMAT}.jsonl"
"""Ends the names of the lines that this code cannot read. A release with another format tries those of other names."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Volume:
    """The folders that the replicas and the collector share."""

    home: Path

    @property
    def segments(self) -> Path:
        """Where the replicas write."""
        return self.home / "segments"

    @property
    def batches(self) -> Path:
        """Where a collection works."""
        return self.home / "batches"

    @property
    def unreadable(self) -> Path:
        """Where lines are kept that cannot be read as a block."""
        return self.home / "unreadable"


@dataclass(slots=True)
class Found:
    """What a batch held of one model and schema; `rows` are answered ones, and a shadow answers nobody."""

    rows: int = 0
    refused: int = 0
    first: datetime | None = None
    last: datetime | None = None
    size: int = 0

    def add(self, table: pa.Table, size: int) -> None:
        """Counts one object."""
        refused, shadow = (pc.sum(pc.equal(table["variant"], variant)).as_py() for variant in (REFUSED, SHADOW))
        times = pc.min_max(table["time"]).as_py()
        self.rows += table.num_rows - refused - shadow
        self.refused += refused
        self.first = min(filter(None, (self.first, times["min"])))
        self.last = max(filter(None, (self.last, times["max"])))
        self.size += size


@dataclass(slots=True)
class Collected:
    """What was moved: segments, answered rows, and what was found to be missing or broken."""

    segments: int = 0
    rows: int = 0
    dropped: int = 0
    torn: int = 0
    unreadable: int = 0
    models: dict[tuple[str, str], Found] = field(default_factory=dict)

    def add(self, other: Collected) -> None:
        """Counts another batch."""
        for name in ("segments", "rows", "dropped", "torn", "unreadable"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def describe(self) -> str:
        """What was moved, in one sentence."""
        lost = f", {self.dropped} rows dropped by replicas" if self.dropped else ""
        broken = f", {self.torn} torn and {self.unreadable} unreadable lines" if self.torn or self.unreadable else ""
        return f"{self.rows} rows of {self.segments} segments{lost}{broken}"


def find_volume(workspace: Workspace) -> Volume:
    """The folders of the prediction log.

    Raises:
        SettingsError: the settings name none.
    """
    home = workspace.settings.prediction_log_dir
    if home is None:
        raise SettingsError(
            "settings: found no MLOPS_PREDICTION_LOG_DIR, expected the folder into which the replicas write their log; "
            "set it, or run this within the stack"
        )
    return Volume(home)


def collect(workspace: Workspace) -> Collected | None:
    """Moves every segment that no replica writes any more; None where another collection is under way.

    Raises:
        StorageError: the store refuses; nothing is lost, and the next collection goes on.
        WarehouseError: the database cannot be reached; the same.
    """
    volume = find_volume(workspace)
    with hold_lock(volume.home / "collector.lock") as is_ours:
        if not is_ours:
            log.info("another collection is under way, nothing to do here")
            return None
        total = Collected()
        for folder in list_leftovers(volume.batches):
            total.add(_process(workspace, volume, folder))
        total.add(_process(workspace, volume, _take(volume)))
    log.info("collected %s", total.describe())
    return total


@contextmanager
def hold_lock(path: Path) -> Iterator[bool]:
    """Whether this process holds the lock; it is free as soon as the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def list_leftovers(batches: Path) -> list[Path]:
    """The batches that earlier collections have left, the oldest first; deletes those that only wait for it."""
    batches.mkdir(parents=True, exist_ok=True)
    for folder in batches.glob(f"{DONE}*"):
        shutil.rmtree(folder)
    return sorted(folder for folder in batches.iterdir() if BATCH.fullmatch(folder.name) and not folder.is_symlink())


def retire(folder: Path) -> None:
    """Deletes a batch whose rows lie in the store."""
    done = folder.rename(folder.with_name(DONE + folder.name))
    shutil.rmtree(done)


def group_files(folder: Path, most_bytes: int = GROUP_BYTES) -> list[list[Path]]:
    """The segments of a batch in groups that fit into memory; the same for the same folder."""
    groups: list[list[Path]] = []
    size = most_bytes
    for path in sorted(folder.iterdir()):
        size += path.stat().st_size
        if size > most_bytes:
            groups.append([])
            size = path.stat().st_size
        groups[-1].append(path)
    return groups


def _take(volume: Volume) -> Path:
    """Moves all free segments into a new batch, together with those of a collection that was killed at it.

    Lines that another release set aside come too: an upgrade that went back leaves such ones of the new replicas.

    The batch gets its time when it holds all of them: after a part, it would say that the log is complete until then.
    """
    began_at = datetime.now(UTC)
    taking = volume.batches / TAKING
    taking.mkdir(exist_ok=True)
    take_free(volume.segments, taking)
    take_free(volume.unreadable, taking, but=KEPT)
    return taking.rename(volume.batches / began_at.strftime(STAMP))


def _process(workspace: Workspace, volume: Volume, folder: Path) -> Collected:
    """Stores a batch: while the store takes one group, the next one is read."""
    found = Collected()
    with ThreadPoolExecutor(1, thread_name_prefix="store") as thread:
        under_way: Future[None] | None = None
        for number, paths in enumerate(group_files(folder)):
            name = f"{folder.name}-{number}"
            parts = _read_group(volume, name, paths, found)
            if under_way is not None:
                under_way.result()
            under_way = thread.submit(_store_group, workspace, name, parts, found)
            del parts  # or two groups would lie in memory while the next one is read
        if under_way is not None:
            under_way.result()
    _record(workspace, folder.name, found)
    retire(folder)
    return found


def _read_group(volume: Volume, name: str, paths: Sequence[Path], found: Collected) -> Parts:
    """The rows of some segments, and what they hold besides."""
    parts = Parts()
    for path in paths:
        lines = Lines(path)
        parts.add_lines(lines)
        found.segments += 1
        found.torn += lines.torn
    found.dropped += parts.dropped
    found.unreadable += len(parts.unreadable)
    if parts.unreadable:
        _keep(volume.unreadable / f"{name}{KEPT}", parts.unreadable)
    return parts


def _store_group(workspace: Workspace, name: str, parts: Parts, found: Collected) -> None:
    """Stores the rows of a group; `found` has no other writer of these counts."""
    for part, table in parts.list_tables():
        counted = found.models.setdefault((part.model, part.schema), Found())
        before = counted.rows
        counted.add(table, _store(workspace, part, name, table))
        found.rows += counted.rows - before


def _store(workspace: Workspace, part: Part, name: str, table: pa.Table) -> int:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", use_dictionary=list_repeating(table))
    uri = workspace.places.locate_log_hour(part.model, part.schema, part.hour, name)
    workspace.storage.write_bytes(uri, content.getvalue())
    return content.tell()


def _keep(path: Path, lines: Sequence[bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    write_synced(path, b"".join(line + b"\n" for line in lines))
    log.warning("%s: found %d lines that cannot be read as a block of the prediction log, kept here", path, len(lines))


def _record(workspace: Workspace, name: str, found: Collected) -> None:
    began_at = datetime.strptime(name, STAMP).replace(tzinfo=UTC)
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO warehouse.prediction_collection "
            "(collection, began_at, segments, rows, dropped, torn, unreadable) VALUES (%s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            (name, began_at, found.segments, found.rows, found.dropped, found.torn, found.unreadable),
        )
        for (model, schema), counted in sorted(found.models.items()):
            values: tuple[Any, ...] = (counted.rows, counted.refused, counted.first, counted.last, counted.size)
            cursor.execute(
                "INSERT INTO warehouse.prediction_batch "
                "(collection, model, schema, rows, refused, first_time, last_time, bytes) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (name, model, schema, *values),
            )
