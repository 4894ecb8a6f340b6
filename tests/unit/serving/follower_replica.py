"""A replica without its server: a follower with its files, and a registry in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from serving.api.status import describe_readiness
from serving.errors import RefusedModelError, RegistryError
from serving.following.follower import Follower
from serving.following.model_files import ModelFiles
from serving.registry.reader import RegisteredModel


class FakeRegistry:
    """A registry in memory, whose link and files a test may break."""

    def __init__(self) -> None:
        self.name = "iris"
        self.files: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.canary_until: datetime | None = None
        self.shadow_until: datetime | None = None
        self.rollout: str | None = None
        self.is_down = False
        self.reason = "found nobody, expected MLflow"
        self.is_store_down = False
        self.downloads = 0

    def register(self, version: str, content: bytes, digest: str | None = None) -> None:
        self.files[version] = content
        self.digests[version] = digest or hashlib.sha256(content).hexdigest()

    async def read_models(self) -> Mapping[str, RegisteredModel]:
        if self.is_down:
            raise RegistryError(self.reason)
        model = RegisteredModel(dict(self.aliases), self.canary_until, self.rollout, shadow_until=self.shadow_until)
        return {self.name: model, "stranger": RegisteredModel({"champion": "1"})}

    async def read_digest(self, name: str, version: str) -> str:
        if version not in self.digests:
            raise RefusedModelError("found no tag sha256")
        return self.digests[version]

    async def download(self, name: str, version: str, target: Path, limit_bytes: int) -> str:
        self.downloads += 1
        if self.is_store_down:
            target.write_bytes(self.files[version][:100])
            raise RegistryError("the stream broke off")
        target.write_bytes(self.files[version])
        return hashlib.sha256(self.files[version]).hexdigest()


class Replica:
    """A follower with its files; making another one of the same folder and name is a restart."""

    def __init__(self, folder: Path, registry: FakeRegistry, *, pool: str = "stable", name: str = "one") -> None:
        self.files = ModelFiles(folder, name)
        self.catalog = {"iris": "iris"}
        self.follower = Follower(
            registry, self.files, pool=pool, read_allowed=lambda: self.catalog, limit_bytes=10_000_000
        )

    def step(self) -> None:
        asyncio.run(self.follower.step())

    def restore(self) -> None:
        asyncio.run(self.follower.restore())

    def version(self, *, wants_challenger: bool = False) -> str | None:
        served = self.follower.pick("iris", wants_challenger=wants_challenger)
        return served.identity.version if served else None

    def reasons(self) -> list[str]:
        problems: list[dict[str, str]] = describe_readiness(self.follower)["problems"]
        return [problem["reason"] for problem in problems]
