"""The registry as a rollout needs it: aliases, tags and files of versions; only a rollout may move an alias."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

from serving.errors import RegistryError
from serving.registry.names import BAD_VERDICTS, MODEL_FILE, ROLLED_BACK, VERDICT

VERSION_NUMBER = re.compile(r"[1-9][0-9]{0,8}")

PAGE_SIZE = 100
"""Newest versions that are searched for a candidate."""


class RegistryWriter(Protocol):
    """The registry as a rollout needs it."""

    def read(self, model: str) -> dict[str, str]:
        """The version that each alias names."""

    def find_newest_passed(self, model: str) -> str | None:
        """The newest version that passed the gate and that no rollout has failed."""

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

    def __init__(self, url: str, username: str, password: str) -> None:
        retry = httpx.HTTPTransport(retries=3)
        self._client = httpx.Client(base_url=url, auth=(username, password), timeout=30.0, transport=retry)

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

    def find_newest_passed(self, model: str) -> str | None:
        """Finds the newest version with the tag `gate=passed` that was neither rolled back nor failed by a rollout.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        query: dict[str, str | int] = {
            "filter": f"name='{model}'",
            "max_results": PAGE_SIZE,
            "order_by": "version_number DESC",
        }
        for version in self._call("GET", "model-versions/search", query).get("model_versions", []):
            tags = _read_tags(version)
            is_bad = ROLLED_BACK in tags or tags.get(VERDICT) in BAD_VERDICTS
            if tags.get("gate") == "passed" and not is_bad:
                return str(version["version"])
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
        return None if found is None else _read_tags(found)

    def download(self, model: str, version: str, target: Path, limit_bytes: int) -> str:
        """Streams a version's model file to a path.

        Raises:
            RegistryError: the file does not exist, is larger than the limit, or the stream breaks off.
        """
        digest, size, subject = hashlib.sha256(), 0, f"{model} version {version}: {MODEL_FILE}"
        query = {"name": model, "version": version, "path": MODEL_FILE}
        with self._stream(subject, query) as response, target.open("wb") as file:
            for chunk in response.iter_bytes():
                size += len(chunk)
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
            RegistryError: MLflow refuses, or the version does not exist.
        """
        self._call("POST", "registered-models/alias", {"name": model, "alias": alias, "version": version})

    def delete(self, model: str, alias: str) -> None:
        """Deletes an alias, if it exists.

        Raises:
            RegistryError: MLflow refuses.
        """
        self._call("DELETE", "registered-models/alias", {"name": model, "alias": alias}, missing_ok=True)

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

    @contextmanager
    def _stream(self, subject: str, query: Mapping[str, str]) -> Iterator[httpx.Response]:
        try:
            with self._client.stream("GET", "/model-versions/get-artifact", params=query) as response:
                if response.status_code != httpx.codes.OK:
                    raise RegistryError(
                        f"{subject}: found status {response.status_code}, expected 200; was the file deleted?",
                        response.status_code,
                    )
                yield response
        except httpx.HTTPError as error:
            raise RegistryError(f"{subject}: found {error!r}, expected the file; is MLflow up?") from error

    def _call(
        self, method: str, path: str, fields: Mapping[str, str | int], *, missing_ok: bool = False
    ) -> dict[str, Any]:
        carried = {"params": dict(fields)} if method == "GET" else {"json": dict(fields)}
        try:
            response = self._client.request(method, f"/api/2.0/mlflow/{path}", **carried)  # type: ignore[arg-type]
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


def _read_tags(entity: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in entity.get("tags", [])}
