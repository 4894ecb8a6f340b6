"""What serving reads from MLflow's registry: three REST paths that a user with READ may call."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx

from serving.errors import RefusedModelError, RegistryError
from serving.registry.names import CANARY_SHARE, CANARY_UNTIL, FILE_SECONDS, MODEL_FILE, REPLAY_MARK, SHADOW_UNTIL

SEARCH_LIMIT = 1000
"""Registered models per call, MLflow's own limit; a user who may only read may still create any number of models."""


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model's aliases, each with the version that it names, and what a rollout has written on it.

    `canary_until` is the moment until which a challenger may answer; `rollout` is its progress as JSON; `replay_mark`
    is the sha256 of the word that a rollout sends with its own requests. `canary_share` is the per cent of the canary
    pool's users who get the challenger. `shadow_until` is the moment until which a shadow may predict.
    """

    aliases: Mapping[str, str]
    canary_until: datetime | None = None
    rollout: str | None = None
    replay_mark: str | None = None
    canary_share: float = 100.0
    shadow_until: datetime | None = None

    def is_replay(self, word: bytes) -> bool:
        """Whether a request with this word is the rollout's own."""
        return self.replay_mark is not None and hashlib.sha256(word).hexdigest() == self.replay_mark


class Registry(Protocol):
    """The registry as the follower needs it."""

    async def read_models(self) -> Mapping[str, RegisteredModel]:
        """Every registered model by name."""

    async def read_digest(self, name: str, version: str) -> str:
        """The sha256 of a version's model file, as hex digits."""

    async def download(self, name: str, version: str, target: Path, limit_bytes: int) -> str:
        """Streams a version's model file to a path and returns its sha256."""


class MlflowRegistry:
    """The registry of an MLflow server.

    >>> registry = MlflowRegistry("http://mlflow:5000", "serving", password)
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        timeout = httpx.Timeout(10.0, connect=3.0)
        self._client = httpx.AsyncClient(base_url=url, auth=(username, password), timeout=timeout)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def read_models(self) -> Mapping[str, RegisteredModel]:
        """Reads all registered models, a page of `SEARCH_LIMIT` at a time.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        found: dict[str, RegisteredModel] = {}
        query: dict[str, str | int] = {"max_results": SEARCH_LIMIT}
        while True:
            answer = await self._get("/api/2.0/mlflow/registered-models/search", query)
            found |= {model["name"]: _read_model(model) for model in answer.get("registered_models", [])}
            if not answer.get("next_page_token"):
                return found
            query["page_token"] = answer["next_page_token"]

    async def read_digest(self, name: str, version: str) -> str:
        """Reads the tag `sha256` of a version.

        Raises:
            RegistryError: MLflow does not answer as expected.
            RefusedModelError: the version has no such tag.
        """
        answer = await self._get("/api/2.0/mlflow/model-versions/get", {"name": name, "version": version})
        digest = _read_tags(answer["model_version"]).get("sha256", "").lower()
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise RefusedModelError(
                f"{name} version {version}: found the tag sha256 {digest!r}, expected 64 hex digits of {MODEL_FILE}; "
                "register the version through training"
            )
        return digest

    async def download(self, name: str, version: str, target: Path, limit_bytes: int) -> str:
        """Streams the model file of a version to a path.

        Raises:
            RegistryError: MLflow or its store does not answer as expected, or the stream breaks off.
            RefusedModelError: the file is larger than the limit.
        """
        try:
            async with asyncio.timeout(FILE_SECONDS):
                return await self._stream_file(name, version, target, limit_bytes)
        except TimeoutError as error:
            raise RegistryError(
                f"{name} version {version}: found no whole file within {FILE_SECONDS:g} s, expected one; "
                "is the store slow?"
            ) from error

    async def _stream_file(self, name: str, version: str, target: Path, limit_bytes: int) -> str:
        digest = hashlib.sha256()
        size = 0
        query = {"name": name, "version": version, "path": MODEL_FILE}
        async with self._answer("/model-versions/get-artifact", query) as response:
            with target.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > limit_bytes:
                        raise RefusedModelError(
                            f"{name} version {version}: found more than {limit_bytes} bytes, expected at most that; "
                            "train a smaller model"
                        )
                    digest.update(chunk)
                    file.write(chunk)
        return digest.hexdigest()

    async def _get(self, path: str, query: Mapping[str, str | int]) -> dict[str, Any]:
        async with self._answer(path, query) as response:
            await response.aread()
            try:
                answer = response.json()
            except ValueError as error:
                raise RegistryError(f"MLflow GET {path}: found no JSON, expected it; check its URL") from error
        if not isinstance(answer, dict):
            raise RegistryError(f"MLflow GET {path}: expected a JSON object, found other JSON; check its URL")
        return answer

    @asynccontextmanager
    async def _answer(self, path: str, query: Mapping[str, str | int]) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream("GET", path, params=query) as response:
                if response.status_code != httpx.codes.OK:
                    raise RegistryError(
                        f"MLflow GET {path}: found status {response.status_code}, expected 200; "
                        "check SERVING_MLFLOW_URL and the user's name, password and READ permission"
                    )
                yield response
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__} {error}".strip()
            raise RegistryError(f"MLflow GET {path}: found {reason}, expected an answer; is MLflow up?") from error


def _read_model(model: Mapping[str, Any]) -> RegisteredModel:
    aliases = {entry["alias"]: str(entry["version"]) for entry in model.get("aliases", [])}
    tags = _read_tags(model)
    return RegisteredModel(
        aliases,
        _read_moment(tags.get(CANARY_UNTIL)),
        tags.get("rollout"),
        tags.get(REPLAY_MARK),
        _read_share(tags.get(CANARY_SHARE)),
        _read_moment(tags.get(SHADOW_UNTIL)),
    )


def _read_tags(entity: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in entity.get("tags", [])}


def _read_share(text: str | None) -> float:
    """From 0 to 100; what cannot be read counts as 0, so that a broken tag gives no user the challenger."""
    if text is None:
        return 100.0
    return float(text) if text.isdigit() and len(text) <= 3 else 0.0


def _read_moment(text: str | None) -> datetime | None:
    """An ISO 8601 moment; what cannot be read counts as past, so that a broken tag never holds a canary open."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
