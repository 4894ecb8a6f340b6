"""Brings a version's model file from the registry to the disk of the replicas."""

from __future__ import annotations

import asyncio

from serving.answering.served import Version
from serving.errors import RefusedModelError
from serving.following.model_files import ModelFiles
from serving.registry.reader import Registry


async def download(registry: Registry, files: ModelFiles, identity: Version, limit_bytes: int) -> bytes:
    """Writes the file under its digest, and returns its bytes.

    Raises:
        RegistryError: MLflow or its store does not answer as expected.
        RefusedModelError: the file is not the registered one, or is larger than the limit.
        OSError: it cannot be written.
    """
    temporary = files.temporary_path()
    try:
        digest = await registry.download(identity.name, identity.version, temporary, limit_bytes)
        if digest != identity.sha256:
            raise RefusedModelError(
                f"{identity.name} version {identity.version}: found a model file with sha256 {digest}, expected "
                f"{identity.sha256} by its tag; the file was truncated or altered: register the model again"
            )
        await asyncio.to_thread(files.keep, temporary, digest)
    finally:
        temporary.unlink(missing_ok=True)
    content = await asyncio.to_thread(files.read, identity.sha256)
    if content is None:
        raise OSError(f"{files.path(identity.sha256)}: the file that was just written is gone")
    return content
