"""The rows of a training, in memory or on a disk, and the fit on them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from ml_code.data.features import list_classes
from ml_code.data.holdout import Split, split_holdout
from ml_code.data.large_split import LargeSplit, split_blocks
from ml_code.data.snapshot_blocks import SnapshotBlocks, fetch_blocks, read_shape
from ml_code.data.snapshots import read_snapshot
from ml_code.data.spool import open_spool
from ml_code.datasets import Dataset
from ml_code.families import Family, HyperparameterValue
from ml_code.training.mixes import MixedRows, mix_rows, narrow_to_newest
from ml_code.training.plans import Mix
from ml_code.ways import FIT, IN_MEMORY, ON_CLUSTER, WORKERS, Size, Way, check_way, choose_way, read_memory_limit
from ml_code.workspace import Workspace

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from ml_code.training.large_fit.cluster import Cluster

log = logging.getLogger(__name__)


class TrainingRows(Protocol):
    """What a training needs of its rows; `train` and `expected` are samples if the rows are not in memory.

    `expected` are the rows that live ones will be like.
    """

    @property
    def dataset(self) -> Dataset:
        """Their dataset."""

    @property
    def train(self) -> pd.DataFrame:
        """Rows to train on."""

    @property
    def expected(self) -> Split:
        """Rows that live ones will be like."""

    @property
    def params(self) -> Mapping[str, object]:
        """Their counts, and the mix, for the run."""

    @property
    def tags(self) -> Mapping[str, str]:
        """The way of the fit, for run and version."""

    def fit(self, family: Family, hyperparameters: Mapping[str, HyperparameterValue], threads: int) -> Pipeline:
        """Fits preprocessing and estimator on all of the rows."""


def find_way(
    workspace: Workspace, dataset: Dataset, family: Family, uri: str, *, asked: str | None, is_mixed: bool
) -> Way:
    """The way to fit a family on a snapshot, by the snapshot's size and this worker's memory.

    Raises:
        StorageError: there is no such snapshot, or the store refuses.
        TrainingError: there is no such way, or the family cannot be fitted so.
    """
    shape = read_shape(workspace.storage, uri)
    size = Size(shape.rows, len(shape.columns))
    way, reason = choose_way(check_way(asked, family), family, size, read_memory_limit(), is_mixed=is_mixed)
    if reason:
        log.warning("%s: %s", dataset.name, reason)
    return way


@contextmanager
def open_rows(workspace: Workspace, dataset: Dataset, uri: str, way: Way, mix: Mix | None) -> Iterator[TrainingRows]:
    """Yields the rows of a snapshot in one way; at the end those on a disk are gone.

    Raises:
        DataCheckError: one of the sides is empty, or all rows have one class.
        StorageError: there is no such snapshot, the store refuses, or the disk is full.
    """
    if way == IN_MEMORY:
        split = split_holdout(dataset, read_snapshot(workspace, uri))
        yield MemoryRows(dataset, split, mix_rows(split.train, mix), mix)
        return
    with open_spool(workspace.settings.spool_dir) as folder:
        if way == ON_CLUSTER:
            from ml_code.training.large_fit import cluster  # noqa: PLC0415

            # First of all: no row is read in vain if there is no cluster.
            with cluster.open_cluster(workspace.settings.dask_scheduler, workspace.settings.dask_workers) as opened:
                blocks = fetch_blocks(workspace.storage, uri, folder)
                yield ClusterRows(dataset, blocks, split_blocks(dataset, blocks), folder, opened)
            return
        blocks = fetch_blocks(workspace.storage, uri, folder)
        yield DiskRows(dataset, blocks, split_blocks(dataset, blocks), folder)


@dataclass(frozen=True, slots=True)
class MemoryRows:
    """All rows of a snapshot, as a mix of old and new ones."""

    dataset: Dataset
    split: Split
    mixed: MixedRows
    mix: Mix | None

    @property
    def train(self) -> pd.DataFrame:
        """Rows to train on."""
        return self.mixed.rows

    @property
    def expected(self) -> Split:
        """Rows that live ones will be like."""
        return narrow_to_newest(replace(self.split, train=self.mixed.rows), self.mix)

    @property
    def params(self) -> Mapping[str, object]:
        """Their counts, and the mix, for the run."""
        of_mix = {} if self.mix is None else {"mix": self.mix.name, "mix_since_ms": self.mix.since_ms}
        return {**count_rows(len(self.split.train), len(self.split.holdout)), **of_mix}

    @property
    def tags(self) -> Mapping[str, str]:
        """The way of the fit, for run and version."""
        return {FIT: IN_MEMORY, WORKERS: "1"}

    def fit(self, family: Family, hyperparameters: Mapping[str, HyperparameterValue], threads: int) -> Pipeline:
        """Fits preprocessing and estimator on all of the rows.

        Raises:
            TrainingError: the library refuses the hyperparameters or the rows.
        """
        from ml_code.training import fitting  # noqa: PLC0415

        weights = self.mixed.weights
        return fitting.fit_pipeline(self.dataset, self.train, family, hyperparameters, threads, weights=weights)


@dataclass(frozen=True, slots=True)
class DiskRows:
    """Samples of a snapshot, and all of it on a disk."""

    dataset: Dataset
    blocks: SnapshotBlocks
    large: LargeSplit
    folder: Path

    @property
    def train(self) -> pd.DataFrame:
        """A sample of the rows to train on."""
        return self.large.split.train

    @property
    def expected(self) -> Split:
        """Samples of both sides in the proportion of the sides."""
        return self.large.draw_alike()

    @property
    def params(self) -> Mapping[str, object]:
        """Their counts for the run, and how many rows of the holdout are measured."""
        counts = count_rows(self.large.train_rows, self.large.holdout_rows)
        return {**counts, "holdout_measured_rows": len(self.large.split.holdout)}

    @property
    def tags(self) -> Mapping[str, str]:
        """The way of the fit, for run and version."""
        return {FIT: "external", WORKERS: "1"}

    def fit(self, family: Family, hyperparameters: Mapping[str, HyperparameterValue], threads: int) -> Pipeline:
        """Fits preprocessing and estimator on all of the rows.

        Raises:
            StorageError: the snapshot is damaged, or the disk is full.
            TrainingError: the library refuses the hyperparameters or the rows.
        """
        from sklearn.pipeline import Pipeline  # noqa: PLC0415

        from ml_code.training.large_fit import boosters, matrix, preprocessing  # noqa: PLC0415

        preprocessor = preprocessing.fit_preprocessor(self.dataset, self.blocks, self.large)
        files = matrix.write_matrix(
            self.dataset,
            preprocessing.read_train(self.blocks, self.large),
            preprocessor,
            list_classes(self.dataset, self.train),
            self.folder / "matrix",
            expected_rows=self.large.train_rows,
        )
        model = boosters.make_wrapper(self.dataset, self.train, preprocessor, family, hyperparameters, threads=threads)
        boosters.fit_booster(model, self.dataset.name, files)
        return Pipeline([("preprocess", preprocessor), ("model", model)])


@dataclass(frozen=True, slots=True)
class ClusterRows(DiskRows):
    """Samples of a snapshot, all of it on a disk, and workers that fit shares of it together."""

    cluster: Cluster

    @property
    def tags(self) -> Mapping[str, str]:
        """The way of the fit, and the number of workers: another number gives another model."""
        return {FIT: ON_CLUSTER, WORKERS: str(min(len(self.cluster.workers), self.large.train_rows))}

    def fit(self, family: Family, hyperparameters: Mapping[str, HyperparameterValue], threads: int) -> Pipeline:
        """Fits the preprocessing here and the estimator on the workers.

        Raises:
            StorageError: the snapshot is damaged, or the disk is full.
            TrainingError: a worker is gone, or cannot read or fit its share.
        """
        from sklearn.pipeline import Pipeline  # noqa: PLC0415

        from ml_code.training.large_fit import boosters, cluster, preprocessing, share  # noqa: PLC0415

        preprocessor = preprocessing.fit_preprocessor(self.dataset, self.blocks, self.large)
        whole = share.Share(
            cluster.make_fit_id(),
            self.dataset,
            self.blocks.uri,
            self.blocks.path if self.cluster.is_local else None,
            self.folder.parent,
            preprocessor,
            list_classes(self.dataset, self.train),
        )
        shares = cluster.cut_shares(whole, self.large.is_held_out, len(self.cluster.workers))
        model = boosters.make_wrapper(self.dataset, self.train, preprocessor, family, hyperparameters, threads=threads)
        parameters, rounds = boosters.make_parameters(model), model.get_num_boosting_rounds()
        boosters.put_booster(model, cluster.fit_shares(self.cluster, self.dataset.name, shares, parameters, rounds))
        return Pipeline([("preprocess", preprocessor), ("model", model)])


def count_rows(train: int, holdout: int) -> dict[str, object]:
    """Rows of both sides, as parameters of a run."""
    return {"train_rows": train, "holdout_rows": holdout}
