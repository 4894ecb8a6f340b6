"""One worker's share of a fit on several workers; all of it runs on that worker."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from sklearn.compose import ColumnTransformer

from ml_code.data.snapshot_blocks import SnapshotBlocks, fetch_blocks
from ml_code.data.spool import open_spool
from ml_code.datasets import Dataset
from ml_code.errors import TrainingError
from ml_code.model_file.spec import Label
from ml_code.training.large_fit.boosters import open_matrix, shorten
from ml_code.training.large_fit.matrix import MatrixFiles, write_matrix

LIBRARIES = ("xgboost", "scikit-learn", "numpy", "pandas", "pyarrow", "distributed")


@dataclass(frozen=True, slots=True)
class Share:
    """Rows of a snapshot from `start` to before `stop`, and all that turns them into a matrix.

    `held` has one bit for each of them: whether it is held out. Workers of this machine read the snapshot at `path`;
    others fetch it by the settings of their own environment.
    """

    fit_id: str
    dataset: Dataset
    uri: str
    path: Path | None
    spool: Path | None
    preprocessor: ColumnTransformer
    classes: list[Label] | None
    start: int = 0
    stop: int = 0
    held: bytes = b""


_open: dict[str, tuple[ExitStack, MatrixFiles]] = {}
"""Shares that this process has written and not yet dropped, by their fit."""


def write_share(share: Share) -> int:
    """Writes the matrix of a share to this worker's disk, and returns its rows.

    Fits take turns, so a share of another one was left by a killed task, and goes.

    Raises:
        StorageError: the snapshot cannot be read here, or the disk is full.
    """
    for left in [*_open]:
        drop_share(left)
    with ExitStack() as stack:
        blocks, folder = _open_snapshot(share, stack)
        is_held = np.unpackbits(np.frombuffer(share.held, np.uint8), count=share.stop - share.start).astype(bool)
        parts = blocks.read_rows(share.start, share.stop)
        train = (part[~is_held[place : place + len(part)]].reset_index(drop=True) for place, part in parts)
        files = write_matrix(
            share.dataset,
            (part for part in train if len(part)),
            share.preprocessor,
            share.classes,
            folder / "matrix",
            expected_rows=int((~is_held).sum()),
        )
        _open[share.fit_id] = stack.pop_all(), files
    return sum(files.rows)


def fit_share(fit_id: str, tracker: Mapping[str, Any], parameters: Mapping[str, Any], rounds: int) -> bytes:
    """Fits the booster together with the other workers; each returns the same one.

    Args:
        fit_id: of a written share.
        tracker: address of the tracker, timeouts, and this worker's place among the others.
        parameters: of XGBoost.
        rounds: number of trees of one class.

    Raises:
        TrainingError: another worker is gone, or the library refuses.
    """
    files = _open[fit_id][1]
    try:
        with xgboost.collective.CommunicatorContext(**tracker):
            booster = xgboost.train(dict(parameters), open_matrix(files, parameters["n_jobs"]), rounds)
            return bytes(booster.save_raw("ubj"))
    except xgboost.core.XGBoostError as error:
        raise TrainingError(shorten(error)) from None


def drop_share(fit_id: str) -> None:
    """Removes a share from this worker's disk, if it is there."""
    if fit_id in _open:
        _open.pop(fit_id)[0].close()


def describe_worker() -> dict[str, str]:
    """What must be the same on all workers of a fit: Python, the libraries, the code of this package."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"Python": f"{sys.version_info.major}.{sys.version_info.minor}", **libraries, "ml_code": _digest_code()}


@cache
def _digest_code() -> str:
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for module in sorted(package.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:12]


def _open_snapshot(share: Share, stack: ExitStack) -> tuple[SnapshotBlocks, Path]:
    if share.path is not None:
        return SnapshotBlocks(share.uri, share.path), stack.enter_context(open_spool(share.spool))
    from ml_code.workspace import open_workspace  # noqa: PLC0415  only here is the environment the worker's own

    workspace = open_workspace()
    folder = stack.enter_context(open_spool(workspace.settings.spool_dir))
    return fetch_blocks(workspace.storage, share.uri, folder), folder
