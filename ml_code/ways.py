"""The ways to fit a model: rows in memory, rows on a disk, rows on several workers; imports no library."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ml_code.errors import TrainingError
from ml_code.families import Family

type Way = Literal["memory", "external", "cluster"]
type AskedWay = Literal["auto", "memory", "external", "cluster"]

WAYS: tuple[AskedWay, ...] = get_args(AskedWay.__value__)

STREAMED = ("xgboost", "lightgbm")
"""Families that can be fitted on rows that are not in memory."""

CLUSTERED = ("xgboost",)
"""Families that several workers can fit together."""

IN_MEMORY: Way = "memory"
ON_CLUSTER: Way = "cluster"

FIT = "fit"
"""Tag of a run and of its version: the way of the fit."""

WORKERS = "fit_workers"
"""Tag of a run and of its version: processes that fitted it together."""

MEMORY_SHARE = 0.5
"""Of a worker's memory for one training: other tasks and the libraries need the rest."""

BYTES_PER_CELL = 80
"""Peak memory of a training in memory for each cell: 34 with a key, 75 without one (docs/figures.md)."""

CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Size:
    """Rows and columns of a snapshot."""

    rows: int
    columns: int

    @property
    def needed_bytes(self) -> int:
        """Estimated peak memory of a training that reads all of it at once."""
        return self.rows * self.columns * BYTES_PER_CELL


def check_way(asked: str | None, family: Family) -> AskedWay:
    """Returns the way that a person asked for; none means `auto`.

    Raises:
        TrainingError: there is no such way, or the family cannot be fitted so.
    """
    known: dict[str, AskedWay] = {way: way for way in WAYS}
    way = known.get(asked or "auto")
    if way is None:
        raise TrainingError(f"fit: found {asked!r}, expected one of {', '.join(WAYS)}; choose one of these")
    able = {"external": STREAMED, "cluster": CLUSTERED}.get(way)
    if able and family.name not in able:
        raise TrainingError(
            f"fit: found {way} for {family.name}, which needs all rows in memory, expected {' or '.join(able)}; "
            "choose another model type, or fit by memory"
        )
    return way


def choose_way(asked: AskedWay, family: Family, size: Size, limit_bytes: int, *, is_mixed: bool) -> tuple[Way, str]:
    """The way for a snapshot, and a sentence on it if a person should know.

    Args:
        asked: from `check_way`.
        family: of the model.
        size: of the snapshot.
        limit_bytes: memory of this worker.
        is_mixed: whether the rows are a mix of old and new ones.

    Raises:
        TrainingError: a mix of rows cannot be fitted as asked.
    """
    if asked in {"external", "cluster"} and is_mixed:
        raise TrainingError(
            f"fit: found {asked} for a mix of old and new rows, which needs all rows in memory, expected memory; "
            "choose auto or memory"
        )
    if asked != "auto":
        return asked, ""
    room = int(limit_bytes * MEMORY_SHARE)
    if size.needed_bytes <= room:
        return IN_MEMORY, ""
    needed = f"needs about {size.needed_bytes / 1e9:.1f} GB of {room / 1e9:.1f}"
    if family.name in STREAMED and not is_mixed:
        return "external", f"the snapshot {needed}, so its rows are read from the disk"
    reason = "a mix of rows" if is_mixed else family.name
    return IN_MEMORY, f"the snapshot {needed}, but {reason} needs all rows in memory: the training may be killed"


def read_memory_limit() -> int:
    """Bytes of memory that this process may use: the container's limit, or the machine's memory."""
    for path in CGROUPS:
        if path.is_file() and (text := path.read_text().strip()).isdigit() and int(text) < 1 << 60:
            return int(text)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
