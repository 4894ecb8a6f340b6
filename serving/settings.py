"""Settings from the environment: the only module of `serving` that reads it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml_code.log_lines import LogFormat


class ServingSettings(BaseSettings):
    """Settings of one replica of the prediction service.

    >>> ServingSettings(mlflow_url="http://mlflow:5000", mlflow_username="serving", mlflow_password="…")
    """

    # The input is all settings, with the password in clear.
    model_config = SettingsConfigDict(env_prefix="SERVING_", frozen=True, extra="forbid", hide_input_in_errors=True)

    mlflow_url: str = Field(description="base URL of the MLflow server")
    mlflow_username: str = Field(description="an MLflow user that may only read")
    mlflow_password: SecretStr = Field(description="that user's password")
    pool: Literal["stable", "canary"] = Field(
        default="stable", description="canary also holds the challenger while a rollout lives"
    )
    state_dir: Path = Field(
        default=Path("/var/lib/serving"), description="model files and the last good versions, shared by replicas"
    )
    default_model: str = Field(default="iris", description="the model that POST /predict asks")
    poll_seconds: float = Field(default=2.0, gt=0, description="pause between two readings of the registry")
    max_open_models: int = Field(
        default=0, ge=0, description="champions whose sessions stay open; the one asked longest ago is closed; 0: all"
    )
    replica: str = Field(
        default_factory=socket.gethostname, description="name of this replica; stays the same when it restarts"
    )
    host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104  the container's own network
    port: int = Field(default=3000, ge=0, le=65535, description="port to listen on")
    grpc: bool = Field(default=False, description="whether the Open Inference Protocol is served over gRPC too")
    grpc_port: int = Field(default=3001, ge=0, le=65535, description="port to listen on for gRPC")
    prediction_log_dir: Path | None = Field(
        default=None, description="folder of the prediction log, shared with its collector; none: no log"
    )
    prediction_log_sampling: float = Field(
        default=1.0, ge=0, le=1, description="share of the requests that the prediction log keeps; 0: no log"
    )
    unit_hash_key: SecretStr | None = Field(
        default=None, description="key of the hash of X-User-Id in the prediction log; none: no user is stored"
    )
    catalog_dir: Path | None = Field(
        default=None, description="folder of dataset TOML files instead of the shipped one; read again at every poll"
    )
    log_format: LogFormat = Field(default="text", description="lines for people, or one object of JSON a line")


class RolloutSettings(BaseSettings):
    """Settings of a rollout: of the tasks of `model_serving_pipeline` and of the command.

    >>> RolloutSettings(mlflow_url="http://mlflow:5000", mlflow_username="trainer", mlflow_password="…")
    """

    # The input is all settings, with the password in clear.
    model_config = SettingsConfigDict(env_prefix="ROLLOUT_", frozen=True, extra="forbid", hide_input_in_errors=True)

    mlflow_url: str = Field(description="base URL of the MLflow server")
    mlflow_username: str = Field(description="an MLflow user who may move aliases")
    mlflow_password: SecretStr = Field(description="that user's password")
    stable_host: str = Field(default="serving", description="host name that lists every stable replica")
    canary_host: str | None = Field(default="serving-canary", description="the same for the canary pool; empty: none")
    port: int = Field(default=3000, gt=0, le=65535, description="port that the replicas listen on")
    canary_percent: int = Field(default=10, ge=0, le=100, description="share of the users whom the canary pool answers")
    timeout_seconds: float = Field(default=120.0, gt=0, description="longest wait for the replicas to follow")
    lease_seconds: float = Field(
        default=120.0, gt=0, description="after this time without a sign of life a canary closes and may be taken over"
    )
    admin_username: str = Field(
        default="admin", description="Airflow's first administrator, who may approve what they asked for themselves"
    )
    mlflow_public_url: str | None = Field(default=None, description="MLflow as a browser reaches it, for links")
    gateway_public_url: str | None = Field(default=None, description="the start page as a browser reaches it")
