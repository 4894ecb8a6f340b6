"""A fit on the workers of a real Dask cluster of this machine, and what befalls one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dask
import distributed
import numpy as np
import pytest

from ml_code.data.features import list_classes, select_inputs
from ml_code.datasets import Dataset
from ml_code.errors import TrainingError
from ml_code.families import check_hyperparameters, find_family
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.training.export import export_pipeline
from ml_code.training.large_fit import cluster as fits
from ml_code.training.large_fit import share as shares
from ml_code.training.large_fit.cluster import Cluster, check_workers, open_cluster
from ml_code.training.rows import ClusterRows, open_rows
from ml_code.workspace import open_workspace
from tests.offline_settings import make_offline_settings
from tests.unit.ml_code.passengers import make_dataset, make_rows
from tests.waiting import wait_until

WORKERS = 2
FAMILY = find_family("xgboost", None, "classification")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its workers have the settings of a worker on another host, and an empty spool of their own."""
    spool = tmp_path_factory.mktemp("spool")
    settings = {
        "MLFLOW_URL": "http://127.0.0.1:1",
        "MLFLOW_USERNAME": "none",
        "MLFLOW_PASSWORD": "none",
        "S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "S3_ACCESS_KEY": "none",
        "S3_SECRET_KEY": "none",
        "SPOOL_DIR": str(spool),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(f"MLOPS_{name}", value)
        with open_cluster(None, WORKERS) as opened:
            yield opened
    assert list(spool.iterdir()) == []


@pytest.fixture
def dataset() -> Dataset:
    return make_dataset()


@pytest.fixture
def rows(tmp_path: Path, cluster: Cluster, dataset: Dataset) -> Iterator[ClusterRows]:
    """Sorted by class, so that each worker has rows of one; a category is in the last rows only."""
    table = make_rows(rows=6000).astype({"age": "float64", "fare": "float64"})
    table = table.sort_values("outcome", ignore_index=True)
    table.loc[table.index[-20:], "town"] = "only here"
    path = tmp_path / "snapshot.parquet"
    table.to_parquet(path, index=False, row_group_size=1000)
    workspace = open_workspace(make_offline_settings(tmp_path / "datasets", spool_dir=tmp_path))
    with open_rows(workspace, dataset, str(path), "external", None) as found:
        yield ClusterRows(found.dataset, found.blocks, found.large, found.folder, cluster)


def fit(rows: ClusterRows, trees: int = 10) -> bytes:
    pipeline = rows.fit(FAMILY, check_hyperparameters(FAMILY, {"n_estimators": trees}), 1)
    return export_pipeline(rows.dataset, pipeline, list_classes(rows.dataset, rows.train), rows.train).content


def test_fits_of_shares_with_one_class_each_give_one_file_also_on_workers_by_address(
    rows: ClusterRows,
) -> None:
    content = fit(rows)
    assert fit(rows) == content
    by_address = Cluster(rows.cluster.client, rows.cluster.workers, is_local=False)
    assert fit(replace(rows, cluster=by_address)) == content
    model = OnnxModel(content)
    holdout = rows.large.split.holdout
    inputs = select_inputs(rows.dataset, holdout)
    answers = model.predict_columns({name: inputs[name].tolist() for name in inputs.columns})
    assert np.mean(np.array(answers.values) == holdout["outcome"].to_numpy()) > 0.9
    assert "only here" in next(feature.categories for feature in model.spec.features if feature.name == "town")
    assert rows.tags == {"fit": "cluster", "fit_workers": "2"}
    assert [path for path in rows.folder.parent.iterdir() if path.name.startswith("mlops-spool")] == [rows.folder]


def test_a_snapshot_that_is_damaged_on_one_worker_names_the_worker(
    rows: ClusterRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(rows.blocks.path.read_bytes()[:-2000])
    cut = fits.cut_shares

    def damage_last(*args: object) -> list[shares.Share]:
        first, last = cut(*args)
        return [first, replace(last, path=damaged)]

    monkeypatch.setattr(fits, "cut_shares", damage_last)
    with pytest.raises(
        TrainingError, match=rf"{rows.cluster.workers[1]}: snapshot .* found a file that cannot be read"
    ):
        fit(rows)


def test_a_worker_without_a_spool_names_the_setting(rows: ClusterRows, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = fits.cut_shares
    nowhere = Path("/nowhere")
    monkeypatch.setattr(fits, "cut_shares", lambda *args: [replace(share, spool=nowhere) for share in cut(*args)])
    with pytest.raises(TrainingError, match="set MLOPS_SPOOL_DIR to one on a disk"):
        fit(rows)


def test_a_fit_waits_for_another_one_and_removes_what_a_killed_one_left(
    rows: ClusterRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is killed removes nothing, and its workers live on."""
    with monkeypatch.context() as patch:
        patch.setattr(shares, "drop_share", lambda _: None)
        fit(rows)
    assert len(find_shares(rows)) == WORKERS
    with distributed.Client(rows.cluster.client.scheduler.address, set_as_default=False) as other, other.as_current():
        another = distributed.Lock(fits.TURN)
        another.acquire()
        done: list[bytes] = []
        waiting = threading.Thread(target=lambda: done.append(fit(rows)))
        waiting.start()
        waiting.join(5)
        assert not done
        another.release()
        waiting.join(60)
    assert len(done) == 1
    assert find_shares(rows) == []


def find_shares(rows: ClusterRows) -> list[Path]:
    """The folders of shares on the disk of the workers."""
    return [path for path in rows.folder.parent.glob("mlops-spool-*") if path != rows.folder]


def test_workers_that_do_not_come_are_counted(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "START_SECONDS", 1)
    with pytest.raises(TrainingError, match=r"found 2 of 9 Dask workers here after 1 s, expected all of them"):
        fits._await_workers(cluster.client, 9)


def test_a_worker_of_another_image_is_named(cluster: Cluster) -> None:
    own = {**shares.describe_worker(), "xgboost": "1.0"}
    found = rf"found another image on the Dask worker {cluster.workers[0]} \(xgboost .* instead of 1\.0\)"
    with pytest.raises(TrainingError, match=found):
        check_workers(cluster, "here", own)


def test_a_scheduler_that_is_away_is_told_before_any_row_is_read(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "CONNECT_SECONDS", 1)
    settings = make_offline_settings(tmp_path, spool_dir=tmp_path, dask_scheduler="tcp://127.0.0.1:1")
    opened = open_rows(open_workspace(settings), dataset, "nothing.parquet", "cluster", None)
    with pytest.raises(TrainingError, match=r"found no Dask scheduler at tcp://127\.0\.0\.1:1"), opened:
        pass


def test_workers_are_found_while_the_client_renews_its_own_copy(cluster: Cluster) -> None:
    """The client's copy names no workers, and it may come between a question and its answer."""
    client = cluster.client
    ended = time.monotonic() + 2
    renewals = distributed.client.PeriodicCallback(client._update_scheduler_info, 1)
    client.loop.add_callback(renewals.start)
    try:
        while time.monotonic() < ended:
            assert fits._find_gone(cluster, cluster.workers, patient=False) is None
    finally:
        client.loop.add_callback(renewals.stop)


def test_a_scheduler_that_is_killed_in_a_fit_ends_it_with_one_sentence(
    rows: ClusterRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "CONNECT_SECONDS", 2)
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}), open_cluster(None, 1) as opened:
        pid = opened.client.run_on_scheduler(os.getpid)
        (worker,) = opened.client.run(os.getpid).values()
        with kill_in_the_fit(opened, pid), pytest.raises(TrainingError, match=r"Dask scheduler is gone.*train again$"):
            fit(replace(rows, cluster=opened), trees=2000)
    wait_until(lambda: not Path(f"/proc/{worker}").exists(), 60, "the end of the worker")


def test_a_worker_that_is_killed_in_a_fit_ends_it_with_one_sentence(rows: ClusterRows) -> None:
    """The last test: it takes a worker from the cluster."""
    victim = rows.cluster.workers[1]
    pid = rows.cluster.client.run(os.getpid, workers=[victim])[victim]
    gone = rf"^passengers: fit on 2 workers: found that the worker {victim} is gone"
    with kill_in_the_fit(rows.cluster, pid), pytest.raises(TrainingError, match=gone):
        fit(rows, trees=2000)


@contextmanager
def kill_in_the_fit(cluster: Cluster, pid: int) -> Iterator[None]:
    """Kills a process of the cluster once its workers fit; what runs beside it must end within a minute of that."""

    def kill() -> None:
        wait_until(
            lambda: any("fit_share" in key for keys in cluster.client.processing().values() for key in keys),
            60,
            "a fit",
        )
        os.kill(pid, signal.SIGKILL)
        killed.append(time.monotonic())

    killed: list[float] = []
    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()
    assert time.monotonic() - killed[0] < 60
