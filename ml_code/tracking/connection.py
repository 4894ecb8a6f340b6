"""The connection to MLflow's server, shared by runs and versions."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from requests import RequestException

from ml_code.errors import DigestError, TrackingError
from ml_code.settings import Settings

SHA256 = "sha256"
"""Tag of a run and of a version: the digest of its model file."""

CLIENT_ENVIRONMENT = {
    # The server offers addresses in the object store, which clients cannot reach: all data goes through the server.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    # A lock file names the package index of its machine.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Connection:
    """A client of the tracking server of the settings."""

    def __init__(self, settings: Settings) -> None:
        """Sets server and login; MLflow takes credentials only from the environment."""
        os.environ.update(CLIENT_ENVIRONMENT)
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.mlflow_username
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.mlflow_password.get_secret_value()
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(settings.mlflow_url)
        mlflow.set_registry_uri(settings.mlflow_url)
        self._settings = settings
        self._client = mlflow.MlflowClient(settings.mlflow_url, settings.mlflow_url)

    @contextmanager
    def _resumed(self, run_id: str) -> Iterator[None]:
        """`log_model` writes to the active run only; the run ends as finished."""
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            # MLflow warns of its own type hints when it imports its model classes.
            warnings.filterwarnings("ignore", message=".*Any type hint is inferred", category=UserWarning)
            yield

    @contextmanager
    def _explained(self, subject: str) -> Iterator[None]:
        try:
            yield
        except (MlflowException, RequestException) as error:  # MLflow does not wrap a refused artifact
            raise TrackingError(
                f"{subject}: found {error}, expected MLflow at {self._settings.mlflow_url} to accept it for the user "
                f"{self._settings.mlflow_username}; check that it runs, and that user's password and permissions"
            ) from error


def read_pages[Entry](fetch: Callable[[str | None], PagedList[Entry]]) -> list[Entry]:
    """Every entry of a search: fetches page after page, each by the token of the one before."""
    found: list[Entry] = []
    token: str | None = None
    while True:
        page = fetch(token)
        found += page
        token = page.token
        if not token:
            return found


def check_digest(content: bytes, expected: str | None, subject: str) -> bytes:
    """Returns the content if its sha256 is the expected one.

    Raises:
        DigestError: its sha256 is another one.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DigestError(
            f"{subject}: found the sha256 {found}, expected {expected or 'one among its tags'}; "
            "the file was altered or is incomplete: train again"
        )
    return content


def quote(text: str) -> str:
    """Removes quotes, which MLflow's filter language cannot escape."""
    return text.replace("'", "").replace("\\", "")
