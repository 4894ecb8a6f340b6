"""Fits XGBoost on the workers of a Dask cluster: each has a fixed share of the rows on its disk.

Dask starts the steps on their workers, and XGBoost's own collectives join them. Shares and places do not depend on the
timing, so two fits with the same number of workers give the same bytes. Another number gives another model: the
quantiles of the shares differ.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xgboost
from xgboost.tracker import RabitTracker

from ml_code.errors import MlopsError, TrainingError
from ml_code.training.large_fit import share as on_worker
from ml_code.training.large_fit.share import Share

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10
"""Until the scheduler must have answered."""

START_SECONDS = 120
"""Until the workers of a cluster on this machine must have started."""

COLLECTIVE_SECONDS = 20
"""Until a worker that waits for another one gives up; without it the others would wait for a dead one forever."""

POLL_SECONDS = 0.5

TURN = "mlops-loop-fit"
"""Name of the lock that a fit has on the cluster."""

type Steps = Sequence[tuple[str, Future]]
"""The address of a worker, and its step."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connection to a cluster, and the addresses of its workers in a fixed order."""

    client: Client
    workers: Sequence[str]
    is_local: bool


@contextmanager
def open_cluster(address: str | None, workers: int) -> Iterator[Cluster]:
    """Connects to the scheduler at an address; without one starts a cluster of processes on this machine.

    Raises:
        TrainingError: Dask is not installed, the scheduler is away, or a worker has another image than this process.
    """
    try:
        import distributed  # noqa: PLC0415  an optional package
        from distributed.deploy.subprocess import SubprocessCluster  # noqa: PLC0415
    except ImportError as error:
        raise TrainingError(
            "fit: found no Dask in this environment for cluster, expected the packages of "
            "docker/requirements/cluster.txt; install them, or fit by external"
        ) from error
    if address is not None:
        with _connect(distributed, address) as client:
            opened = Cluster(client, _list_workers(client), is_local=False)
            check_workers(opened, address, on_worker.describe_worker())
            yield opened
        return
    # Without a nanny: it would start a killed worker again, without the worker's rows.
    options = {"dashboard_address": None, "threads_per_worker": 1, "worker_class": "distributed.Worker"}
    started = SubprocessCluster(n_workers=workers, worker_kwargs={"memory_limit": 0}, **options)
    try:
        with distributed.Client(started) as client:
            _await_workers(client, workers)
            opened = Cluster(client, _list_workers(client), is_local=True)
            check_workers(opened, "this machine", on_worker.describe_worker())
            yield opened
    finally:
        with suppress(OSError):  # a scheduler that is gone cannot end its workers; they end without it
            started.close(timeout=CONNECT_SECONDS)


def _await_workers(client: Client, workers: int) -> None:
    try:
        client.wait_for_workers(workers, timeout=START_SECONDS)
    except TimeoutError as error:
        raise TrainingError(
            f"fit: found {len(_list_workers(client))} of {workers} Dask workers here after {START_SECONDS} s, expected "
            "all of them; train again when this machine has less to do, or fit by external"
        ) from error


def check_workers(cluster: Cluster, where: str, own: Mapping[str, str]) -> None:
    """Refuses a cluster without workers, or with one of another image than `own` describes.

    Raises:
        TrainingError: it is one of these.
    """
    if not cluster.workers:
        raise TrainingError(f"fit: found no Dask worker at {where}, expected one or more; start some")
    described = cluster.client.run(on_worker.describe_worker, on_error="return")
    for worker, found in sorted(described.items()):
        if found == own:
            continue
        differing = (
            ", ".join(
                f"{name} {found.get(name)} instead of {own[name]}" for name in own if found.get(name) != own[name]
            )
            if isinstance(found, dict)
            else f"{type(found).__name__}: {str(found)[:200]}"
        )
        raise TrainingError(
            f"fit: found another image on the Dask worker {worker} ({differing}), expected that of this task; "
            "start all workers from the same image"
        )


def cut_shares(whole: Share, is_held_out: npt.NDArray[np.bool_], workers: int) -> list[Share]:
    """Cuts a snapshot into a share for each worker: the same number of training rows each, none without any."""
    places = np.flatnonzero(~is_held_out)
    count = min(workers, len(places))
    starts = [0, *(int(places[len(places) * number // count]) for number in range(1, count))]
    return [
        replace(whole, start=start, stop=stop, held=np.packbits(is_held_out[start:stop]).tobytes())
        for start, stop in zip(starts, [*starts[1:], len(is_held_out)], strict=True)
    ]


def fit_shares(
    cluster: Cluster, name: str, shares: Sequence[Share], parameters: Mapping[str, Any], rounds: int
) -> xgboost.Booster:
    """Writes the shares on their workers, and fits a booster on all of them, once other fits on these have ended.

    Args:
        cluster: its first workers take the shares, in order.
        name: of the dataset.
        shares: one for each worker.
        parameters: of XGBoost, with `n_jobs`.
        rounds: number of trees of one class.

    Raises:
        TrainingError: a worker is gone, or cannot read or fit its share.
    """
    fit_id = shares[0].fit_id
    workers = list(cluster.workers[: len(shares)])
    title = f"{name}: fit on {len(shares)} workers"
    with _take_turn(cluster.client):
        try:
            _await(title, cluster, _submit(cluster, workers, on_worker.write_share, [(share,) for share in shares]))
            with _track(len(shares), _find_own_address(cluster)) as tracker:
                of_workers = [{**tracker, "dmlc_task_id": f"{place:05}"} for place in range(len(shares))]
                arguments = [(fit_id, of_worker, dict(parameters), rounds) for of_worker in of_workers]
                found = _await(title, cluster, _submit(cluster, workers, on_worker.fit_share, arguments))
        finally:
            with suppress(Exception):  # the folder of a worker that cannot be reached goes with its next fit
                present = [worker for worker in _list_workers(cluster.client) if worker in workers]
                cluster.client.run(on_worker.drop_share, fit_id, workers=present, on_error="ignore")
    booster = xgboost.Booster()
    booster.load_model(bytearray(found[0]))
    return booster


def make_fit_id() -> str:
    """A name for the shares of one fit."""
    return uuid.uuid4().hex


@contextmanager
def _take_turn(client: Client) -> Iterator[None]:
    """Waits for other fits: two at once would wait for each other's workers. A killed one loses its turn in 30 s."""
    from distributed import Lock  # noqa: PLC0415  an optional package

    with client.as_current(), Lock(TURN):
        yield


def _connect(distributed: Any, address: str) -> Client:
    try:
        client: Client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise TrainingError(
            f"fit: found no Dask scheduler at {address} ({str(error)[:200]}), expected one; "
            "start it, correct MLOPS_DASK_SCHEDULER, or fit by external"
        ) from error
    return client


def _list_workers(client: Client) -> list[str]:
    return sorted(_ask_scheduler(client)["workers"])


def _ask_scheduler(client: Client) -> dict[str, Any]:
    """The scheduler's own words: a client replaces its copy of them now and then by one without workers.

    Raises:
        TrainingError: it is gone.
    """
    try:
        found: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=CONNECT_SECONDS)
    except OSError as error:
        raise TrainingError(
            "fit: found that the Dask scheduler is gone, expected it until the end; start it, and train again"
        ) from error
    return found


def _submit(
    cluster: Cluster, workers: Sequence[str], step: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> Steps:
    """Starts one step on each worker; no other worker may take it over."""
    return [
        (worker, cluster.client.submit(step, *args, workers=[worker], allow_other_workers=False, pure=False, retries=0))
        for worker, args in zip(workers, arguments, strict=True)
    ]


def _await(title: str, cluster: Cluster, steps: Steps) -> list[Any]:
    """The results of all steps; the first failure ends the waiting, and that of a worker that is gone counts more."""
    while True:
        failed = [(worker, step) for worker, step in steps if step.status in {"error", "lost", "cancelled"}]
        if gone := _find_gone(cluster, [worker for worker, _ in steps], patient=bool(failed)):
            raise _fail(steps, f"{title}: found that the worker {gone} is gone, expected it until the end; train again")
        if failed:
            worker, step = failed[0]
            reason = step.exception(timeout=CONNECT_SECONDS) if step.status == "error" else step.status
            shown = str(reason) if isinstance(reason, MlopsError) else repr(reason)[:200]
            raise _fail(steps, f"{title}: found on the worker {worker}: {shown}")
        if all(step.status == "finished" for _, step in steps):
            return [step.result(timeout=CONNECT_SECONDS) for _, step in steps]
        time.sleep(POLL_SECONDS)


def _fail(steps: Steps, message: str) -> TrainingError:
    for _, step in steps:
        with suppress(Exception):  # a connection that is lost cancels nothing
            step.cancel()
    return TrainingError(message)


def _find_gone(cluster: Cluster, workers: Sequence[str], *, patient: bool) -> str | None:
    """The first worker that has left; after a failure the scheduler has some seconds to notice."""
    for _ in range(10 if patient else 1):
        present = set(_list_workers(cluster.client))
        if gone := [worker for worker in workers if worker not in present]:
            return gone[0]
        if patient:
            time.sleep(POLL_SECONDS)
    return None


@contextmanager
def _track(workers: int, host: str) -> Iterator[dict[str, Any]]:
    """Runs XGBoost's tracker, which gives each worker its place, and yields the settings of the workers."""
    tracker = RabitTracker(n_workers=workers, host_ip=host, sortby="task", timeout=3 * COLLECTIVE_SECONDS)
    tracker.start()
    try:
        yield {**tracker.worker_args(), "dmlc_timeout": COLLECTIVE_SECONDS, "dmlc_retry": 1}
    finally:
        with suppress(xgboost.core.XGBoostError):
            tracker.free()


def _find_own_address(cluster: Cluster) -> str:
    """The address of this machine as the workers see it."""
    if cluster.is_local:
        return "127.0.0.1"
    host, _, port = _ask_scheduler(cluster.client)["address"].rpartition("://")[2].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(port)))  # sends nothing
        return str(probe.getsockname()[0])
