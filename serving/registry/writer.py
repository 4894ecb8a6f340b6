"""The registry as a rollout needs it: aliases, tags and files of versions; only a rollout may move an alias."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

from ml_code.signature import Signer
from serving.errors import LateChangeError, RegistryError
from serving.registry.names import FILE_SECONDS, MODEL_FILE

VERSION_NUMBER = re.compile(r"[1-9][0-9]{0,8}")

PAGE_SIZE = 500
"""Versions per call; the first page has the candidate, except after as many bad versions."""


CALL_SECONDS = 10.0
"""Longest wait for an answer of MLflow: shorter than a lock of the aliases outlives an idle process."""

DOWNLOAD_SECONDS = 30.0
"""The same for the next part of a file."""

OUTCOME_SECONDS = 600.0
"""How long a change of an alias that was not answered in time is listened for."""


class RegistryWriter(Protocol):
    """The registry as a rollout needs it."""

    def read(self, model: str) -> dict[str, str]:
        """The version that each alias names."""

    def find_newest_passed(self, model: str, barred: Collection[str]) -> str | None:
        """The newest version that passed the gate and is not among the barred ones."""

    def read_tags(self, model: str, version: str) -> dict[str, str] | None:
        """The tags of a version; None where it does not exist."""

    def download(self, model: str, version: str, target: Path, limit_bytes: int) -> str:
        """Writes a version's model file to a path and returns its sha256."""

    def move(self, model: str, alias: str, version: str) -> None:
        """Points an alias at a version."""

    def delete(self, model: str, alias: str) -> None:
        """Deletes an alias."""

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Writes a tag on a version."""

    def tag_model(self, model: str, key: str, value: str | None) -> None:
        """Writes a tag on a model; None removes it."""


class MlflowRegistryWriter:
    """An MLflow server's registry.

    >>> MlflowRegistryWriter("http://mlflow:5000", "trainer", password).read("iris")
    {'champion': '3', 'previous': '2'}
    """

    def __init__(self, url: str, username: str, password: str, signer: Signer | None = None) -> None:
        """Connects; with a signer, a version's tag `gate` is what the gate signed and not what MLflow has."""
        self._signer = signer
        retry = httpx.HTTPTransport(retries=1)
        timeout = httpx.Timeout(CALL_SECONDS, connect=3.0)
        self._client = httpx.Client(base_url=url, auth=(username, password), timeout=timeout, transport=retry)

    def close(self) -> None:
        """Closes the connections, which would otherwise end with the process."""
        self._client.close()

    def read(self, model: str) -> dict[str, str]:
        """Reads the aliases of a model; none where the model is not registered.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        answer = self._call("GET", "registered-models/get", {"name": model}, missing_ok=True)
        entries = answer.get("registered_model", {}).get("aliases", [])
        return {entry["alias"]: str(entry["version"]) for entry in entries}

    def find_newest_passed(self, model: str, barred: Collection[str]) -> str | None:
        """Finds the newest version that passed the gate and is not among the barred ones.

        Every version is read: a condition on the tag `gate` would miss a signed one whose tag somebody changed.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        for version in self._search_versions(f"name='{model}'"):
            number = str(version["version"])
            tags = self._believe(model, number, _read_tags(version))
            if tags.get("gate") == "passed" and number not in barred:
                return number
        return None

    def read_tags(self, model: str, version: str) -> dict[str, str] | None:
        """The tags of a version; None where it does not exist.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        # MLflow would take 07 for 7, which is another name everywhere else.
        if not VERSION_NUMBER.fullmatch(version):
            return None
        answer = self._call("GET", "model-versions/get", {"name": model, "version": version}, missing_ok=True)
        found = answer.get("model_version")
        return None if found is None else self._believe(model, version, _read_tags(found))

    def download(self, model: str, version: str, target: Path, limit_bytes: int) -> str:
        """Streams a version's model file to a path.

        Raises:
            RegistryError: the file does not exist, is larger than the limit, or the stream breaks off.
        """
        digest, size, subject = hashlib.sha256(), 0, f"{model} version {version}: {MODEL_FILE}"
        query = {"name": model, "version": version, "path": MODEL_FILE}
        deadline = time.monotonic() + FILE_SECONDS
        with self._stream(subject, query) as response, target.open("wb") as file:
            for chunk in response.iter_bytes():
                size += len(chunk)
                if time.monotonic() > deadline:
                    raise RegistryError(f"{subject}: found no whole file within {FILE_SECONDS:g} s, expected one")
                if size > limit_bytes:
                    raise RegistryError(
                        f"{subject}: found more than {limit_bytes} bytes, expected fewer; train a smaller model", 413
                    )
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def move(self, model: str, alias: str, version: str) -> None:
        """Points an alias at a version.

        Raises:
            LateChangeError: MLflow did not answer in time, and may still move it.
            RegistryError: MLflow refuses, or the version does not exist.
        """
        self._change("POST", {"name": model, "alias": alias, "version": version})

    def delete(self, model: str, alias: str) -> None:
        """Deletes an alias, if it exists.

        Raises:
            LateChangeError: MLflow did not answer in time, and may still delete it.
            RegistryError: MLflow refuses.
        """
        self._change("DELETE", {"name": model, "alias": alias})

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Writes a tag on a version.

        Raises:
            RegistryError: MLflow refuses, or the version does not exist.
        """
        self._call("POST", "model-versions/set-tag", {"name": model, "version": version, "key": key, "value": value})

    def tag_model(self, model: str, key: str, value: str | None) -> None:
        """Writes a tag on a model; None removes it, and it may be gone already.

        Raises:
            RegistryError: MLflow refuses.
        """
        if value is None:
            self._call("DELETE", "registered-models/delete-tag", {"name": model, "key": key}, missing_ok=True)
        else:
            self._call("POST", "registered-models/set-tag", {"name": model, "key": key, "value": value})

    def _search_versions(self, condition: str) -> Iterator[dict[str, Any]]:
        """Every version that meets a condition, the newest first, a page at a time."""
        query: dict[str, str | int] = {
            "filter": condition,
            "max_results": PAGE_SIZE,
            "order_by": "version_number DESC",
        }
        while True:
            answer = self._call("GET", "model-versions/search", query)
            yield from answer.get("model_versions", [])
            if not answer.get("next_page_token"):
                return
            query["page_token"] = answer["next_page_token"]

    def _believe(self, model: str, version: str, tags: dict[str, str]) -> dict[str, str]:
        gate = self._signer.read_gate(model, version, tags) if self._signer else tags.get("gate")
        return tags if gate is None else {**tags, "gate": gate}

    @contextmanager
    def _stream(self, subject: str, query: Mapping[str, str]) -> Iterator[httpx.Response]:
        try:
            path = "/model-versions/get-artifact"
            with self._client.stream("GET", path, params=query, timeout=DOWNLOAD_SECONDS) as response:
                if response.status_code != httpx.codes.OK:
                    raise RegistryError(
                        f"{subject}: found status {response.status_code}, expected 200; was the file deleted?",
                        response.status_code,
                    )
                yield response
        except httpx.HTTPError as error:
            raise RegistryError(f"{subject}: found {error!r}, expected the file; is MLflow up?") from error

    def _change(self, method: str, fields: Mapping[str, str]) -> None:
        """Changes an alias in a thread, which still hears the outcome after this caller has stopped waiting."""
        subject = f"MLflow {method} registered-models/alias {dict(fields)}"
        errors: list[RegistryError] = []

        def call() -> None:
            try:
                is_deletion, timeout = method == "DELETE", httpx.Timeout(OUTCOME_SECONDS, connect=3.0)
                self._call(method, "registered-models/alias", fields, missing_ok=is_deletion, timeout=timeout)
            except RegistryError as error:
                errors.append(error)

        has_ended = start_thread(call)
        if not has_ended(CALL_SECONDS):
            raise LateChangeError(
                f"{subject}: found no answer within {CALL_SECONDS:.0f} s, expected one; it may still take place",
                has_ended,
            )
        if errors:
            raise errors[0]

    def _call(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str | int],
        *,
        missing_ok: bool = False,
        timeout: httpx.Timeout | None = None,
    ) -> dict[str, Any]:
        carried: dict[str, Any] = {"params" if method == "GET" else "json": dict(fields)}
        if timeout:
            carried["timeout"] = timeout
        try:
            response = self._client.request(method, f"/api/2.0/mlflow/{path}", **carried)
        except httpx.HTTPError as error:
            raise RegistryError(f"MLflow {method} {path}: found {error!r}, expected an answer; is it up?") from error
        if missing_ok and response.status_code == httpx.codes.NOT_FOUND:
            return {}
        if response.status_code != httpx.codes.OK:
            raise RegistryError(
                f"MLflow {method} {path} {dict(fields)}: found status {response.status_code}, expected 200: "
                f"{response.text[:300]}; check ROLLOUT_MLFLOW_URL, the user and the version",
                response.status_code,
            )
        answer: dict[str, Any] = response.json()
        return answer


def start_thread(call: Callable[[], None]) -> Callable[[float], bool]:
    """Starts a call in a thread that does not outlive the process; returns how to wait for its end."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()

    def has_ended(seconds: float) -> bool:
        thread.join(seconds)
        return not thread.is_alive()

    return has_ended


def _read_tags(entity: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in entity.get("tags", [])}
