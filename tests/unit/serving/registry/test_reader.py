from __future__ import annotations

import asyncio

import httpx
import pytest

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
