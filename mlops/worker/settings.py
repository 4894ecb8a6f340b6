"""What a worker on another host finds in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ml_code.settings import REPOSITORY
from mlops.worker.release import Release, measure_release

TOLD = "WORKER_RELEASE"
"""Set where a worker runs apart from its stack."""


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's own release, the one that it was told of, and where it reaches the parts of its stack."""

    told: str
    own: Release
    broker_url: str = field(repr=False)
    api_url: str
    addresses: Mapping[str, tuple[str, int]]
    """Host and port of each part."""


def is_elsewhere() -> bool:
    """Whether this process runs in a worker on another host than its stack."""
    return bool(os.environ.get(TOLD))


def read_broker_url() -> str:
    """The broker's address, with its password."""
    return os.environ["AIRFLOW__CELERY__BROKER_URL"]


def read_release() -> Release:
    """The release of this container."""
    return measure_release(REPOSITORY, Path(os.environ.get("AIRFLOW_HOME", REPOSITORY)))


def read_place() -> Place:
    """Reads the environment of a worker.

    Raises:
        KeyError: a setting is missing.
    """
    environment = os.environ
    urls = {
        "broker": environment["AIRFLOW__CELERY__BROKER_URL"],
        "execution API": environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"],
        "object store": environment["MLOPS_S3_ENDPOINT_URL"],
        "MLflow": environment["MLOPS_MLFLOW_URL"],
        "results": environment["AIRFLOW__CELERY__RESULT_BACKEND"],
    }
    return Place(
        environment[TOLD],
        read_release(),
        urls["broker"],
        urls["execution API"],
        {name: find_address(url) for name, url in urls.items()},
    )


def find_address(url: str) -> tuple[str, int]:
    """Host and port of an address.

    >>> find_address("https://store.example")
    ('store.example', 443)
    """
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
