from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from serving.errors import RegistryError
from serving.registry.reader import MlflowRegistry


def test_models_beyond_the_first_page_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {
        None: {"registered_models": [{"name": "aaa"}], "next_page_token": "2"},
        "2": {"registered_models": [{"name": "iris", "aliases": [{"alias": "champion", "version": "7"}]}]},
    }
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json=pages[request.url.params.get("page_token")])
    )
    make_client = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **options: make_client(transport=transport, **options))
    models = asyncio.run(MlflowRegistry("http://mlflow", "serving", "secret").read_models())
    assert models["iris"].aliases == {"champion": "7"}


async def drip() -> AsyncIterator[bytes]:
    """A byte now and then, each within every time-out of a socket."""
    while True:
        yield b"1"
        await asyncio.sleep(0.01)


def test_a_model_file_that_comes_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=drip()))
    make_client = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **options: make_client(transport=transport, **options))
    monkeypatch.setattr("serving.registry.reader.FILE_SECONDS", 0.2)
    registry = MlflowRegistry("http://mlflow", "serving", "secret")
    with pytest.raises(RegistryError, match=r"found no whole file within 0\.2 s"):
        asyncio.run(registry.download("iris", "7", tmp_path / "model.onnx", 1_000_000))
