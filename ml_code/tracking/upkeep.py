"""What housekeeping asks of MLflow: every version with its age, what each run trained on, and a deletion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from ml_code.tracking.connection import Connection, quote, read_pages

PAGE_SIZE = 1000
"""Entries per call."""


@dataclass(frozen=True, slots=True)
class DatedVersion:
    """One version of a registered model, and when it was made."""

    name: str
    version: str
    made_at: datetime
    tags: Mapping[str, str]


class UpkeepTracker(Connection):
    """Look-ups over everything that MLflow holds."""

    def list_dated_versions(self, name: str) -> list[DatedVersion]:
        """Lists every version of a model, the newest first."""
        with self._explained(f"versions of {name}"):
            search = partial(self._client.search_model_versions, f"name = '{quote(name)}'", max_results=PAGE_SIZE)
            found = read_pages(lambda token: search(page_token=token))
        made = [
            DatedVersion(name, str(entry.version), _read_time(entry.creation_timestamp), dict(entry.tags))
            for entry in found
        ]
        return sorted(made, key=lambda version: int(version.version), reverse=True)

    def list_values_of_versions(self, tag: str) -> set[str]:
        """Lists the values that a tag has on the versions of all models."""
        with self._explained("versions of all models"):
            search = partial(self._client.search_model_versions, max_results=PAGE_SIZE)

            def fetch(token: str | None) -> PagedList[str | None]:
                page = search(page_token=token)
                return PagedList([entry.tags.get(tag) for entry in page], page.token)

            return {value for value in read_pages(fetch) if value}

    def list_values_of_runs(self, tag: str) -> set[str]:
        """Lists the values that a tag has on all runs, on deleted ones too: a person may restore them."""
        with self._explained("runs of all experiments"):
            experiments = partial(self._client.search_experiments, ViewType.ALL, max_results=PAGE_SIZE)
            ids = [found.experiment_id for found in read_pages(lambda token: experiments(page_token=token))]
            search = partial(self._client.search_runs, ids, "", ViewType.ALL, max_results=PAGE_SIZE)

            def fetch(token: str | None) -> PagedList[str | None]:
                # A run has dozens of metrics and tags: only one value of each stays in memory.
                page = search(page_token=token)
                return PagedList([run.data.tags.get(tag) for run in page], page.token)

            return {value for value in read_pages(fetch) if value}

    def delete_version(self, name: str, version: str) -> None:
        """Deletes a version; it may be gone already. Its run stays."""
        with self._explained(f"version {version} of {name}"):
            try:
                self._client.delete_model_version(name, version)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise


def _read_time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
