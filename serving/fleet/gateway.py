"""The gateway as a client sees it: a rollout's own requests, marked so that they do not count as clients' traffic."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import httpx

from ml_code.model_file.spec import Value
from ml_code.traces import make_headers
from serving.fleet.access import OPEN, Access

CONNECTIONS = 4
"""Requests under way at once: enough to be quick, few enough that clients do not notice."""

TIMEOUT_SECONDS = 6.0
"""A row takes milliseconds: a request that takes this long has failed, and delays the end of a bad canary."""

WORD_BYTES = 24
"""Of chance, in the word by which replicas know a rollout's own requests."""

type Variant = Literal["stable", "canary"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one row: status (0: no response), the version that answered, and its prediction."""

    status: int
    version: str | None = None
    prediction: Any = None
    problem: str = ""


class Gateway(Protocol):
    """The gateway as a rollout needs it."""

    def predict(self, model: str, rows: Sequence[Sequence[Value]], variant: Variant | None) -> list[Answer]:
        """Sends each row as a request of its own, to the given pool or a drawn one; returns the answers in order."""

    def marked(self, word: str) -> Gateway:
        """The same gateway, whose requests carry the word by which replicas know a rollout's own."""


def make_word() -> str:
    """A word that nobody guesses."""
    return secrets.token_urlsafe(WORD_BYTES)


class HttpGateway:
    """A gateway by its base URL.

    >>> HttpGateway("http://nginx:8000").predict("iris", [[5.1, 3.5, 1.4, 0.2]], "canary")
    [Answer(status=200, version='4', prediction=0, problem='')]
    """

    def __init__(self, url: str, access: Access = OPEN, word: str = "none") -> None:
        self._url = url
        self._access = access
        self._word = word

    def marked(self, word: str) -> HttpGateway:
        """The same gateway, whose requests carry the word."""
        return HttpGateway(self._url, self._access, word)

    def predict(self, model: str, rows: Sequence[Sequence[Value]], variant: Variant | None) -> list[Answer]:
        """Sends each row as a request of its own, a few at once."""
        headers = {**self._access.headers, **make_headers(), "X-Replay": self._word} | (
            {"X-Variant": variant} if variant else {}
        )
        url = f"{self._url}/models/{model}/predict"
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, headers=headers, verify=self._access.verify) as client,
            ThreadPoolExecutor(CONNECTIONS) as pool,
        ):
            return list(pool.map(lambda row: _ask(client, url, row), rows))


def _ask(client: httpx.Client, url: str, row: Sequence[Value]) -> Answer:
    try:
        answer = client.post(url, json=[list(row)])
        version = answer.headers.get("X-Model-Version")
        if answer.status_code != httpx.codes.OK:
            return Answer(answer.status_code, version, problem=answer.text[:200])
        return Answer(answer.status_code, version, answer.json()["predictions"][0])
    except httpx.HTTPError as error:
        return Answer(0, problem=repr(error))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return Answer(0, problem=f"found an invalid prediction ({error!r})")
