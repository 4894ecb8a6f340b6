"""The BentoML service: BentoML has health, metrics, limits and lifecycle; a mounted app has the predictions.

Started by `python -m serving`, which runs BentoML's worker without its supervisor.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import bentoml
from prometheus_client import REGISTRY

from ml_code.disk import measure_disk
from ml_code.heap import return_large_blocks
from ml_code.model_file.spec import LARGEST_FILE_MB
from ml_code.segments import SegmentWriter
from ml_code.telemetry import open_tracing
from serving.answering.logged import RowMaker
from serving.answering.shadow import Shadows
from serving.api.app import PredictionApp
from serving.api.bentoml_seam import adapt_bentoml
from serving.api.evidence import EvidenceBook
from serving.api.feedback import FeedbackDesk
from serving.api.front import TIMEOUT_SECONDS, MountedApp
from serving.api.metrics import PredictionMetrics
from serving.api.pages import make_pages
from serving.api.prediction_log import PredictionLog
from serving.api.predictions import Predictions
from serving.api.spans import SERVICE, RequestSpans
from serving.following.allowed import read_allowed_models
from serving.following.follower import Follower
from serving.following.model_files import ModelFiles
from serving.following.unlogged import UnloggedColumns
from serving.registry.reader import MlflowRegistry
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from serving.grpc_api.server import GrpcServer

FREEZE_AFTER_SECONDS = 5.0
"""By then the start's objects are made; they never die, so the collector need not visit them again."""

COLLECT_THRESHOLDS = (50_000, 20, 100)
"""A full collection of BentoML's heap takes 165-196 ms, which is what p99 showed."""

mounted_app = MountedApp()


@bentoml.asgi_app(mounted_app, path="/")
@bentoml.service(
    name="predictions",
    workers=1,
    logging={"access": {"enabled": False}},
)
class PredictionService:
    """Follows the registry for as long as it runs."""

    def __init__(self) -> None:
        settings = ServingSettings()
        self._poll_seconds = settings.poll_seconds
        password = settings.mlflow_password.get_secret_value()
        self._registry = MlflowRegistry(settings.mlflow_url, settings.mlflow_username, password)
        self._follower = make_follower(settings, self._registry)
        self._log = make_log(settings)
        self._feedback = make_desk(settings)
        self._shadows = Shadows(self._follower.pick_shadow, self._log.note) if self._log is not None else None
        tracing = open_tracing(SERVICE)
        self._spans = RequestSpans(tracing) if tracing is not None else None
        self._task: asyncio.Task[None] | None = None
        default_model, evidence = settings.default_model, EvidenceBook()
        pages = make_pages(
            self._follower,
            pool=settings.pool,
            replica=settings.replica,
            default_model=default_model,
            evidence=evidence,
            feedback=self._feedback,
            shadows=self._shadows,
        )
        mounted_app.app = app = PredictionApp(
            self._follower,
            PredictionMetrics(REGISTRY),
            default_model=default_model,
            pages=pages,
            evidence=evidence,
            log=self._log,
            shadows=self._shadows,
            spans=self._spans,
        )
        self._grpc = make_grpc_server(settings, app.predictions, self._spans)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Opens what was served last, then follows the registry."""
        return_large_blocks()
        if self._log is not None:
            REGISTRY.register(self._log)
            self._log.start()
        if self._shadows is not None:
            REGISTRY.register(self._shadows)
            self._shadows.start(asyncio.get_running_loop())
        await self._follower.restore()
        self._task = asyncio.create_task(self._follower.follow(self._poll_seconds))
        if self._grpc is not None:
            self._grpc.open_when_ready(self._poll_seconds)
        gc.set_threshold(*COLLECT_THRESHOLDS)
        asyncio.get_running_loop().call_later(FREEZE_AFTER_SECONDS, freeze_heap)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Ends the follower and its connections, and writes what waits for the prediction log."""
        if self._grpc is not None:
            await self._grpc.stop()
        if self._shadows is not None:
            await asyncio.to_thread(self._shadows.close)
        if self._log is not None:
            await asyncio.to_thread(self._log.close)
        if self._feedback is not None:
            self._feedback.close()
        if self._spans is not None:
            await asyncio.to_thread(self._spans.close)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._registry.close()


adapt_bentoml(mounted_app)


def make_follower(settings: ServingSettings, registry: MlflowRegistry) -> Follower:
    """The follower that a replica's settings describe."""
    files = ModelFiles(settings.state_dir, f"{settings.pool}-{settings.replica}")
    read_allowed = partial(read_allowed_models, settings.catalog_dir)
    limit_bytes = LARGEST_FILE_MB * 1_000_000
    return Follower(
        registry,
        files,
        pool=settings.pool,
        read_allowed=read_allowed,
        limit_bytes=limit_bytes,
        most_open=settings.max_open_models,
    )


def make_log(settings: ServingSettings) -> PredictionLog | None:
    """The prediction log that a replica's settings describe."""
    room, sampling = settings.prediction_log_dir, settings.prediction_log_sampling
    if room is None or not sampling:
        return None
    owner = f"{settings.pool}-{settings.replica}"
    folder = room / "segments"
    lines = SegmentWriter(folder, owner, rooms=(folder, room / "batches"), measure_disk=measure_disk)
    key = settings.unit_hash_key.get_secret_value() if settings.unit_hash_key else ""
    hidden = UnloggedColumns(settings.catalog_dir)
    row_maker = RowMaker(sampling=sampling, unit_key=key.encode() or None, read_hidden=hidden.find)
    return PredictionLog(lines, row_maker, sampling=sampling)


def make_grpc_server(
    settings: ServingSettings, predictions: Predictions, spans: RequestSpans | None
) -> GrpcServer | None:
    """The gRPC side of a replica, if it has one; otherwise its library takes no memory."""
    if not settings.grpc:
        return None
    from serving.grpc_api.server import GrpcServer  # noqa: PLC0415  imports gRPC

    return GrpcServer(predictions, settings.host, settings.grpc_port, timeout_seconds=TIMEOUT_SECONDS, spans=spans)


def make_desk(settings: ServingSettings) -> FeedbackDesk | None:
    """Where a replica takes labels; None where there is no log, because no label would find its row."""
    room = settings.prediction_log_dir
    if room is None or not settings.prediction_log_sampling:
        return None
    # Labels are few and cannot be had again: they may take the room that answers leave.
    return FeedbackDesk(SegmentWriter(room / "feedback", f"{settings.pool}-{settings.replica}"))


def freeze_heap() -> None:
    """Excludes all live objects from garbage collection."""
    gc.collect()
    gc.freeze()
