"""The gateway as a person's command asks it: the models that it knows, and predictions for rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from mlops.errors import AnswerError, NoAnswerError
from serving.fleet.access import OPEN, Access

ASK_SECONDS = 60.0

BUSY = (429, 503, 504)
"""Statuses after which the same request may succeed."""

TRIES = 5
PAUSE_SECONDS = 2.0

SHOWN = 10
"""Problems that one message names."""

LONGEST_TEXT = 200
"""Characters of an outside text in a message."""


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """One column that a model reads."""

    name: str
    is_numeric: bool


@dataclass(frozen=True, slots=True)
class Note:
    """What the gateway says about a row, by its place among the rows of the request."""

    row: int | None
    field: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions for some rows, in their order; `probabilities` are by class, in the order of `classes`."""

    predictions: Sequence[Any]
    version: str
    probabilities: Sequence[Sequence[float]] | None = None
    classes: Sequence[Any] | None = None
    warnings: tuple[Note, ...] = ()


class RefusedRowsError(AnswerError):
    """The gateway refused rows; `notes` say which ones and why."""

    def __init__(self, message: str, notes: tuple[Note, ...]) -> None:
        super().__init__(message)
        self.notes = notes


class Gateway:
    """The gateway at an address.

    >>> Gateway("http://127.0.0.1:8000").predict("iris", b"[[5.1,3.5,1.4,0.2]]")
    Answers(predictions=[0], version='7', ...)
    """

    def __init__(self, url: str, access: Access = OPEN) -> None:
        self._url = url
        # One user for a whole file: the same version answers each part of it.
        headers = {"X-User-Id": f"mlops-predict-{uuid4()}", **access.headers}
        self._client = httpx.Client(timeout=ASK_SECONDS, headers=headers, verify=access.verify)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def list_features(self, model: str) -> list[FeatureKind]:
        """The columns that the serving version of a model reads.

        Raises:
            NoAnswerError: the gateway does not answer.
            AnswerError: no version of the model serves.
        """
        features = self._ask("GET", "/models", lambda answer: _find_features(answer.json()["models"], model))
        if features is None:
            raise AnswerError(
                f"{model}: found no version that serves at {self._url}, expected one; `mlops deploy {model}` serves "
                "the newest version that passed the gate"
            )
        return features

    def predict(self, model: str, body: bytes, *, with_probabilities: bool = False) -> Answers:
        """The predictions for a JSON array of rows.

        Raises:
            NoAnswerError: the gateway does not answer.
            RefusedRowsError: rows do not fit the model.
            AnswerError: the gateway refuses for another reason.
        """
        query = "?probabilities=true" if with_probabilities else ""
        return self._ask("POST", f"/models/{quote(model, safe='')}/predict{query}", _read_answers, body)

    def _ask[Found](
        self, method: str, path: str, read: Callable[[httpx.Response], Found], body: bytes | None = None
    ) -> Found:
        """Sends a request, again while the gateway is busy, and returns what is read of the response."""
        answer = self._send(method, path, body)
        for _ in range(TRIES - 1):
            if answer.status_code not in BUSY:
                break
            time.sleep(PAUSE_SECONDS)
            answer = self._send(method, path, body)
        if not answer.is_success:
            raise _describe_refusal(answer)
        try:
            return read(answer)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise AnswerError(
                f"{self._url}{path}: expected the gateway's JSON, found another response; "
                "`mlops doctor` finds out whether another program listens there"
            ) from error

    def _send(self, method: str, path: str, body: bytes | None) -> httpx.Response:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            return self._client.request(method, f"{self._url}{path}", content=body, headers=headers)
        except httpx.TransportError as error:
            raise NoAnswerError(
                f"gateway {self._url}: expected an answer, found none: {error}; `make up` starts the stack, "
                "and `mlops local up` the one without Docker"
            ) from error


def list_known_models(url: str, access: Access = OPEN) -> set[str]:
    """Names of the registered models that the replicas may serve.

    Raises:
        NoAnswerError: the gateway does not answer, or not with the list.
    """
    try:
        answer = httpx.get(f"{url}/rollouts", timeout=ASK_SECONDS, verify=access.verify).raise_for_status()
        return {model["name"] for model in answer.json()["models"]}
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise NoAnswerError(f"gateway {url}: expected the list of models, found {error!r}") from error


def _find_features(listed: Sequence[Mapping[str, Any]], model: str) -> list[FeatureKind] | None:
    """The columns of the champion, or of the only version that serves; None where none serves."""
    found = [entry for entry in listed if entry["name"] == model]
    serving = [entry for entry in found if entry["variant"] == "champion"] or found
    if not serving:
        return None
    return [FeatureKind(feature["name"], feature["kind"] == "numeric") for feature in serving[0]["features"]]


def _read_answers(answer: httpx.Response) -> Answers:
    body = answer.json()
    return Answers(
        body["predictions"],
        str(body["model"]["version"]),
        body.get("probabilities"),
        body.get("classes"),
        _read_notes(body.get("warnings") or (), "warning"),
    )


def _read_notes(found: Sequence[Mapping[str, Any]], text: str) -> tuple[Note, ...]:
    return tuple(Note(note.get("row"), note.get("field"), str(note[text])[:LONGEST_TEXT]) for note in found)


def _describe_refusal(answer: httpx.Response) -> AnswerError:
    """The error of a response, in the words of the gateway if it has some."""
    try:
        body = answer.json()
        said, notes = str(body["error"])[:LONGEST_TEXT], _read_notes(body.get("detail") or (), "problem")
    except (ValueError, LookupError, TypeError, AttributeError):
        said, notes = "another response than the gateway's", ()
    return RefusedRowsError(f"gateway: expected predictions, found status {answer.status_code}: {said}", notes)
