"""Addresses of the outside systems and our logins there; the only module of `ml_code` that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml_code.errors import SettingsError

PREFIX = "MLOPS_"
REPOSITORY = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """The settings of training, gate and registry.

    >>> load_settings().mlflow_url
    'http://mlflow:5000'
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # the input is all settings, with the secrets in clear
    )

    mlflow_url: str = Field(description="MLflow's tracking server, such as http://mlflow:5000")
    mlflow_username: str = Field(description="an MLflow user with permission to create runs and model versions")
    mlflow_password: SecretStr = Field(description="that user's password")
    s3_endpoint_url: str = Field(description="the S3 server, such as http://minio:9000")
    s3_access_key: str = Field(description="access key of an S3 user with permission to read and write the datasets")
    s3_secret_key: SecretStr = Field(description="that user's secret key")
    warehouse_dsn: SecretStr | None = Field(
        default=None, description="libpq DSN of the warehouse; training runs without it"
    )
    gate_signing_key: SecretStr | None = Field(
        default=None, description="key with which the gate signs its decisions; without it a person must approve"
    )
    gateway_url: str = Field(
        default="http://nginx:8000", description="the gateway that forwards requests for predictions"
    )
    gateway_token: SecretStr | None = Field(default=None, description="a token of the gateway, where it demands one")
    gateway_authority: Path | None = Field(
        default=None, description="certificate of the authority that signed the gateway's, where no public one did"
    )
    airflow_url: str | None = Field(
        default=None, description="Airflow's API for `mlops deploy` and `mlops status`, such as http://127.0.0.1:8080"
    )
    airflow_username: str = Field(default="admin", description="an Airflow user with permission to trigger DAGs")
    airflow_password: SecretStr | None = Field(default=None, description="that user's password")
    datasets_uri: str = Field(
        default="s3://datasets", description="bucket (s3://name) or folder of snapshots and incoming files"
    )
    predictions_uri: str = Field(
        default="s3://predictions", description="bucket (s3://name) or folder of batches of predictions"
    )
    prediction_log_dir: Path | None = Field(
        default=None, description="folder in which the replicas leave their log of predictions and the labels"
    )
    prediction_log_days: float = Field(default=90, gt=0, description="days that the log stays in the store")
    prediction_log_gb: float = Field(
        default=20, gt=0, description="gigabytes of the log in the store; the oldest hours go first"
    )
    batch_days: float = Field(default=90, gt=0, description="days that batches of predictions stay")
    batch_gb: float = Field(default=20, gt=0, description="gigabytes of batches; the oldest go first")
    quarantine_days: float = Field(default=90, gt=0, description="days that reports of invalid rows stay")
    quarantine_gb: float = Field(default=5, gt=0, description="gigabytes of these reports; the oldest go first")
    snapshot_days: float = Field(default=30, gt=0, description="days that a snapshot stays which nothing names")
    versions_kept: int = Field(default=20, ge=1, description="newest versions of a model that stay without an alias")
    task_logs_uri: str | None = Field(
        default=None, description="folder of the logs of tasks in the store; none: no worker writes them there"
    )
    task_log_days: float = Field(default=30, gt=0, description="days that logs of tasks stay")
    task_log_gb: float = Field(default=5, gt=0, description="gigabytes of these logs; the oldest go first")
    backup_days: float = Field(
        default=14, gt=0, description="days that backups stay; housekeeping deletes no younger object that one may name"
    )
    datasets_dir: Path | None = Field(
        default=None, description="folder with <dataset>.csv files; such a file replaces the dataset's own source"
    )
    input_uris: str = Field(
        default="",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]+(/[^\s,]*)?(,|$))*$",
        description="further buckets or prefixes that a form may name, separated by commas: s3://sales,s3://lake/new",
    )
    loop_status_dir: Path | None = Field(
        default=None, description="folder of the state of the loop, which the gateway shows; without it none is written"
    )
    catalog_dir: Path | None = Field(
        default=None, description="folder of dataset TOML files instead of the shipped one"
    )
    git_commit: str | None = Field(default=None, description="commit of the running code, for a machine without .git")
    training_threads: int = Field(default=2, ge=1, description="threads that one training may use")
    spool_dir: Path | None = Field(
        default=None,
        description="folder on a disk for the rows of a training that is larger than memory; none: /var/tmp",
    )
    dask_scheduler: str | None = Field(
        default=None,
        description="Dask's scheduler of fits by cluster, such as tcp://dask-scheduler:8786; none: processes here",
    )
    dask_workers: int = Field(default=2, ge=1, description="workers of a fit by cluster where no scheduler is named")
    batch_threads: int = Field(default=2, ge=1, description="threads that one shard of a batch of predictions may use")

    def list_input_uris(self) -> list[str]:
        """The further buckets and prefixes that a form may name."""
        return [uri for uri in self.input_uris.split(",") if uri]


def load_settings() -> Settings:
    """Reads the MLOPS_* variables.

    Raises:
        SettingsError: a value is missing or wrong, or a MLOPS_* name is unknown.
    """
    refuse_unknown_names()
    if not os.environ.get(f"{PREFIX}MLFLOW_URL"):
        raise SettingsError(
            f"settings: found no {PREFIX}MLFLOW_URL in the environment, expected the MLOPS_* variables of a stack; "
            "set them, or take those of the stack on this machine: open_workspace(mlops.host.load_host_settings())"
        )
    return make_settings({})


def make_settings(values: Mapping[str, object]) -> Settings:
    """Builds the settings from these values; the environment supplies the others.

    Raises:
        SettingsError: a value is missing or wrong.
    """
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"settings: found {problems}; expected every value set and valid, correct them") from error


def refuse_unknown_names() -> None:
    """Refuses an unknown MLOPS_* variable, such as a misspelt one.

    Raises:
        SettingsError: the environment has one.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"settings: found the unknown names {', '.join(unknown)}, expected only {', '.join(sorted(known))}; "
            "correct or unset them"
        )


LONGEST_TIMEOUT_SECONDS = 3600
"""Of a request to a receiver of spans."""


@dataclass(frozen=True, slots=True)
class TraceReceiver:
    """Where spans go, by OpenTelemetry's own names of settings; `headers` may hold a password."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = 10.0


def read_trace_receiver() -> TraceReceiver | None:
    """The receiver of spans; None where there is none.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/ has the names and their forms.

    Raises:
        SettingsError: the address cannot be read or has a password, which logs would show; or the timeout is no time.
    """
    root, url = (os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))
    if not (root or url) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    pairs = (pair.partition("=") for pair in (_read_otel("HEADERS") or "").split(",") if "=" in pair)
    headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    address = _check_address(url or f"{(root or '').rstrip('/')}/v1/traces")
    return TraceReceiver(address, headers, _read_seconds(_read_otel("TIMEOUT")))


def _check_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_valid = False
    if not is_valid or "@" in parts.netloc:
        found = "a user or a password in it" if is_valid else "an address that cannot be read"
        raise SettingsError(
            f"settings: OTEL_EXPORTER_OTLP_ENDPOINT: found {found}, expected one such as http://collector:4318; a "
            "password belongs into OTEL_EXPORTER_OTLP_HEADERS"
        )
    return url


def _read_otel(name: str) -> str | None:
    """A setting of the export of spans, or the one of every export."""
    found = os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
    return found or None


def _read_seconds(text: str | None) -> float:
    try:
        seconds = float(text or 10)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= LONGEST_TIMEOUT_SECONDS:
        raise SettingsError(
            f"settings: found OTEL_EXPORTER_OTLP_TIMEOUT {text!r}, expected seconds such as 10, at most "
            f"{LONGEST_TIMEOUT_SECONDS}; correct or unset it"
        )
    return seconds


def read_project_run_id() -> str | None:
    """Id of the run that `mlflow run` created for this process; None if another program started it."""
    return os.environ.get("MLFLOW_RUN_ID") or None
