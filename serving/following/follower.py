"""The desired state of a replica: it serves what the registry's aliases name, a few seconds later."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ml_code.errors import MlopsError
from ml_code.heap import return_free_memory
from ml_code.model_file.onnx_model import OnnxModel
from serving.answering.rows import RowParser
from serving.answering.served import ServedModel, Version
from serving.errors import RefusedModelError, RegistryError
from serving.following.downloads import download
from serving.following.model_files import ModelFiles
from serving.following.open_models import OpenModels
from serving.memory import describe_shortage, fits_alone
from serving.registry.names import CHALLENGER, CHAMPION, SHADOW
from serving.registry.reader import RegisteredModel, Registry

REFUSED_SECONDS = 300.0
"""Pause before a version that was refused is tried again; another version is tried at once."""

UNREACHED_SECONDS = 60.0
"""Longest pause before a download that the network broke is tried again; the first is one second."""

LOAD_SECONDS = 60.0
"""A file that takes longer to open and replay may never end: it holds its own thread, but not the others."""
NOT_READ_YET = "not read yet"

type Slot = tuple[str, str]
"""A model's name and the alias that it is served under."""

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a version is not served, and when (monotonic seconds) it is tried again."""

    version: str
    reason: str
    attempts: int
    retry_at: float


class Follower:
    """Holds the models of one replica and moves them to what the registry names.

    >>> allowed = {"iris": "iris", "IrisModel": "iris"}
    >>> follower = Follower(registry, files, pool="stable", read_allowed=lambda: allowed, limit_bytes=512_000_000)
    """

    def __init__(
        self,
        registry: Registry,
        files: ModelFiles,
        *,
        pool: str,
        read_allowed: Callable[[], Mapping[str, str]],
        limit_bytes: int,
        most_open: int = 0,
    ) -> None:
        self._registry = registry
        self._files = files
        self._read_allowed = read_allowed
        self._allowed = dict(read_allowed())
        self._aliases = (CHAMPION, CHALLENGER, SHADOW) if pool == "canary" else (CHAMPION,)
        self._limit_bytes = limit_bytes
        self._open_models = OpenModels(files, most_open)
        self._open_until: dict[Slot, datetime | None] = {}
        # Where the registry was not seen to keep the model: one that was made again counts from version 1.
        self._unconfirmed: set[Slot] = set()
        # Champions that answer and are not on disk as the last good version, because it could not be written.
        self._unrecorded: set[Slot] = set()
        self.slots: dict[Slot, ServedModel] = {}
        self.failures: dict[Slot, Failure] = {}
        self.notes: dict[Slot, str] = {}
        self.registered: Mapping[str, RegisteredModel] = {}
        self.read_at: datetime | None = None
        self.registry_problem: str | None = NOT_READ_YET

    def pick(self, name: str, *, wants_challenger: bool, version: str | None = None) -> ServedModel | None:
        """The version that answers a request, or None where the model has none yet, or not the one asked for."""
        if wants_challenger:
            challenger = self.slots.get((name, CHALLENGER))
            if challenger is not None and self.is_canary_open(name) and challenger.is_version(version):
                return challenger
        champion = self.slots.get((name, CHAMPION))
        return champion if champion is not None and champion.is_version(version) else None

    def pick_shadow(self, name: str) -> ServedModel | None:
        """The version that predicts what the champion of a model answers; None where no rollout has one."""
        slot = (name, SHADOW)
        return self.slots.get(slot) if self._is_open(slot) else None

    def is_allowed(self, name: str) -> bool:
        """Whether a model of this name may be served at all."""
        return name in self._allowed

    async def restore(self) -> None:
        """Opens what was served last, so that a restart needs no registry."""
        for name, record in (await asyncio.to_thread(self._files.records)).items():
            if name in self._allowed:
                self._unconfirmed.add((name, CHAMPION))
                version = Version(name, record.version, record.sha256)
                await self._attempt((name, CHAMPION), version.version, version, record.since)
        await asyncio.to_thread(return_free_memory)

    async def follow(self, poll_seconds: float) -> None:
        """Steps forever; only cancelling ends it."""
        while True:
            try:
                await self.step()
            except Exception:  # the edge of the loop: whatever went wrong, what is served keeps serving
                logger.exception("a step of the follower failed; what is served keeps serving")
                self.registry_problem = "the follower failed; its log has the traceback"
            await asyncio.sleep(poll_seconds)

    async def step(self) -> None:
        """Reads the aliases once and moves every slot that they changed."""
        try:
            models = await self._registry.read_models()
        except RegistryError as error:
            self._say_registry(str(error))
            return
        self._say_registry(None)
        self.registered, self.read_at = models, datetime.now(UTC)
        changed = self._read_catalog()
        for name in sorted(self._allowed):
            changed |= await self._converge_model(name, models.get(name))
        if changed:
            await asyncio.to_thread(self._open_models.follow, list(self.slots.values()))
            in_use = {served.identity.sha256 for served in self.slots.values()}
            await asyncio.to_thread(self._files.prune, in_use)
        if self._open_models.take_closed() or changed:
            await asyncio.to_thread(return_free_memory)

    @property
    def is_ready(self) -> bool:
        """Whether any model can answer."""
        return any(alias == CHAMPION for _, alias in self.slots)

    def is_canary_open(self, name: str) -> bool:
        """Whether a rollout allows a challenger of this model to answer at this moment."""
        return self._is_open((name, CHALLENGER))

    def _is_open(self, slot: Slot) -> bool:
        until = self._open_until.get(slot)
        return until is not None and datetime.now(UTC) < until

    def _read_catalog(self) -> bool:
        """Reads which models may be served, and drops all others from memory."""
        # A catalog without a dataset is a mount whose folder was replaced, and ends no model.
        self._allowed = dict(self._read_allowed()) or self._allowed
        gone = [slot for slot in {**self.slots, **self.failures, **self.notes} if slot[0] not in self._allowed]
        for slot in gone:
            logger.info("%s: %s is no longer served, its dataset has left the catalog", *slot)
            for kept in (self.slots, self.failures, self.notes):
                kept.pop(slot, None)
        return bool(gone)

    async def _converge_model(self, name: str, registered: RegisteredModel | None) -> bool:
        aliases: Mapping[str, str] = registered.aliases if registered else {}
        until = {CHALLENGER: registered.canary_until, SHADOW: registered.shadow_until} if registered else {}
        changed = False
        for alias in self._aliases:
            slot = (name, alias)
            self._open_until[slot] = until.get(alias)
            version = aliases.get(alias) if alias == CHAMPION or self._is_open(slot) else None
            if version is None:
                changed |= self._let_go(slot)
            else:
                self.notes.pop(slot, None)
                changed |= await self._converge_slot(slot, version)
        return changed

    def _let_go(self, slot: Slot) -> bool:
        """Removes a challenger or shadow whose time is over; keeps a champion whose alias is gone, and notes it."""
        self.failures.pop(slot, None)
        if slot[1] != CHAMPION:
            return self.slots.pop(slot, None) is not None
        self._unconfirmed.add(slot)
        if slot in self.slots and slot not in self.notes:
            self.notes[slot] = "found no champion in the registry any more; the last one keeps serving"
            logger.warning("%s: %s", slot[0], self.notes[slot])
        return False

    async def _converge_slot(self, slot: Slot, version: str) -> bool:
        served = self.slots.get(slot)
        failure = self.failures.get(slot)
        is_there = served is not None and served.identity not in self._open_models.lost
        if served and is_there and served.identity.version == version and slot not in self._unconfirmed:
            self.failures.pop(slot, None)
            if slot in self._unrecorded:
                await self._record(slot, served)
            return False
        if failure and failure.version == version and time.monotonic() < failure.retry_at:
            return False
        return await self._attempt(slot, version)

    async def _attempt(
        self, slot: Slot, version: str, identity: Version | None = None, since: str | None = None
    ) -> bool:
        """Opens a version into a slot, or leaves the slot as it is and notes why."""
        is_confirmed = identity is None
        before = self.slots.get(slot)
        try:
            if identity is None:
                identity = Version(slot[0], version, await self._registry.read_digest(slot[0], version))
            is_there = identity not in self._open_models.lost
            is_same = before is not None and before.identity == identity and is_there
            served = before if before and is_same else await self._open(slot, identity, since)
        except (RegistryError, RefusedModelError, MlopsError, OSError) as error:
            self._fail(slot, version, error)
            return False
        self.failures.pop(slot, None)
        if is_confirmed:
            self._unconfirmed.discard(slot)
        if served is before:
            return False
        self.slots[slot] = served
        await asyncio.to_thread(self._open_models.follow, list(self.slots.values()))
        logger.info("%s: %s is now version %s (%s)", slot[0], slot[1], version, identity.sha256[:12])
        if slot[1] == CHAMPION and since is None:
            await self._record(slot, served)
        return True

    async def _record(self, slot: Slot, served: ServedModel) -> None:
        """Records which version a restart opens; where the disk is full, every step retries."""
        try:
            await asyncio.to_thread(self._files.record, served.identity, served.since)
        except OSError as error:
            if slot not in self._unrecorded:
                logger.error("%s: version %s is not recorded: %s", slot[0], served.identity.version, error)
            self._unrecorded.add(slot)
        else:
            self._unrecorded.discard(slot)

    async def _open(self, slot: Slot, identity: Version, since: str | None) -> ServedModel:
        moment = since or datetime.now(UTC).isoformat(timespec="seconds")
        for other in self.slots.values():
            is_same = other.identity.sha256 == identity.sha256 and other.identity.name == identity.name
            if is_same and other.identity not in self._open_models.lost:
                return replace(other, identity=identity, variant=slot[1], since=moment)
        content = await asyncio.to_thread(self._files.read, identity.sha256)
        if content is None:
            content = await download(self._registry, self._files, identity, self._limit_bytes)
        try:
            model = await asyncio.wait_for(asyncio.to_thread(self._load, identity, content), LOAD_SECONDS)
        except TimeoutError as error:
            raise RefusedModelError(
                f"{identity.name} version {identity.version}: found a file that still opens after {LOAD_SECONDS:g} s, "
                "expected one that answers its golden rows; register another version, and restart to free the core"
            ) from error
        self._open_models.lost.discard(identity)
        return ServedModel(identity, slot[1], moment, model, RowParser(model.spec), self._open_models.thread)

    def _load(self, identity: Version, content: bytes) -> OnnxModel:
        if shortage := describe_shortage(len(content)):
            reason = f"{identity.name} version {identity.version}: {shortage}"
            # What other models and requests take may be free again soon; that blames no version.
            raise OSError(reason) if fits_alone(len(content)) else RefusedModelError(reason)
        with self._files.guard_load(identity):
            try:
                model = self._open_models.open(content, identity)
                model.replay_golden()
            except MlopsError:
                raise
            except Exception as error:  # what a file makes a library raise must not stop the step of all models
                raise RefusedModelError(f"{identity.name}: found a file that does not open ({error!r})") from error
        dataset = self._allowed.get(identity.name)
        if model.spec.dataset != dataset:
            raise RefusedModelError(
                f"{identity.name} version {identity.version}: found the model file of the dataset "
                f"{model.spec.dataset}, expected one of {dataset}; register it under a model of its own dataset"
            )
        return model

    def _fail(self, slot: Slot, version: str, error: Exception) -> None:
        before = self.failures.get(slot)
        attempts = before.attempts + 1 if before and before.version == version else 1
        is_passing = isinstance(error, RegistryError | OSError)
        pause = min(UNREACHED_SECONDS, 2.0 ** (attempts - 1)) if is_passing else REFUSED_SECONDS
        self.failures[slot] = Failure(version, str(error), attempts, time.monotonic() + pause)
        if attempts == 1 or before is None or before.reason != str(error):
            logger.error("%s: %s version %s is not served: %s", slot[0], slot[1], version, error)

    def _say_registry(self, problem: str | None) -> None:
        if problem and self.registry_problem in {None, NOT_READ_YET}:
            logger.warning("the registry is not read, what is served keeps serving: %s", problem)
        self.registry_problem = problem
