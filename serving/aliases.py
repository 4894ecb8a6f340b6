"""Reads and moves the aliases of a registered model; only a rollout may move them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from serving.errors import RegistryError

ROLLED_BACK = "rolled_back"
"""Tag of a version that was taken back, with the reason; it is never picked unasked."""

PAGE_SIZE = 100
"""Newest versions that are looked through for a candidate."""


class Aliases(Protocol):
    """What a rollout asks of a registry."""

    def read(self, model: str) -> dict[str, str]:
        """The version that each alias names."""

    def find_newest_passed(self, model: str) -> str | None:
        """The newest version that the gate let through and that nobody rolled back."""

    def exists(self, model: str, version: str) -> bool:
        """Whether the model has a version of this number."""

    def has_passed(self, model: str, version: str) -> bool:
        """Whether the model has a version of this number that the gate let through."""

    def move(self, model: str, alias: str, version: str) -> None:
        """Lets an alias name a version."""

    def delete(self, model: str, alias: str) -> None:
        """Lets an alias name no version."""

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Writes a tag on a version."""


class MlflowAliases:
    """The aliases in an MLflow server's registry.

    >>> MlflowAliases("http://mlflow:5000", "trainer", password).read("iris")
    {'champion': '3', 'previous': '2'}
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        retry = httpx.HTTPTransport(retries=3)
        self._client = httpx.Client(base_url=url, auth=(username, password), timeout=30.0, transport=retry)

    def read(self, model: str) -> dict[str, str]:
        """Reads the aliases of a model; none where the model is not registered.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        answer = self._call("GET", "registered-models/get", {"name": model}, missing_ok=True)
        entries = answer.get("registered_model", {}).get("aliases", [])
        return {entry["alias"]: str(entry["version"]) for entry in entries}

    def find_newest_passed(self, model: str) -> str | None:
        """Finds the newest version with the tag `gate=passed` and without the tag `rolled_back`.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        query: dict[str, str | int] = {
            "filter": f"name='{model}'",
            "max_results": PAGE_SIZE,
            "order_by": "version_number DESC",
        }
        for version in self._call("GET", "model-versions/search", query).get("model_versions", []):
            tags = {tag["key"]: tag.get("value", "") for tag in version.get("tags", [])}
            if tags.get("gate") == "passed" and ROLLED_BACK not in tags:
                return str(version["version"])
        return None

    def has_passed(self, model: str, version: str) -> bool:
        """Whether the model has a version of this number with the tag `gate=passed`.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        return {"key": "gate", "value": "passed"} in self._find_version(model, version).get("tags", [])

    def exists(self, model: str, version: str) -> bool:
        """Whether the model has a version of this number.

        Raises:
            RegistryError: MLflow does not answer as expected.
        """
        return version.isdecimal() and bool(self._find_version(model, version))

    def move(self, model: str, alias: str, version: str) -> None:
        """Lets an alias name a version.

        Raises:
            RegistryError: MLflow refuses, or the version does not exist.
        """
        self._call("POST", "registered-models/alias", {"name": model, "alias": alias, "version": version})

    def delete(self, model: str, alias: str) -> None:
        """Lets an alias name no version; it may name none already.

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

    def _find_version(self, model: str, version: str) -> dict[str, Any]:
        query = {"name": model, "version": version}
        answer = self._call("GET", "model-versions/get", query, missing_ok=True)
        found: dict[str, Any] = answer.get("model_version", {})
        return found

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
                f"{response.text[:300]}; check ROLLOUT_MLFLOW_URL, the user and the version"
            )
        answer: dict[str, Any] = response.json()
        return answer
