"""Settings of the exporter, from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml_code.log_lines import LogFormat


class ExporterSettings(BaseSettings):
    """Where the exporter reads, and as whom.

    >>> ExporterSettings(gateway_url="http://nginx:8001")
    """

    # The input is all settings, with the passwords in clear.
    model_config = SettingsConfigDict(env_prefix="EXPORTER_", frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104  the container's own network
    port: int = Field(default=9101, ge=0, le=65535, description="port to listen on; 0: any free one")
    gateway_url: str | None = Field(default=None, description="base URL of the gateway; none: no probe")
    gateway_token: SecretStr | None = Field(default=None, description="token that marks the probe's predictions")
    default_model: str = Field(default="iris", description="the model that the probe asks")
    nginx_url: str | None = Field(default=None, description="address of Nginx' stub_status")
    airflow_url: str | None = Field(default=None, description="base URL of Airflow's API server")
    airflow_username: str = Field(default="monitor", description="an Airflow user who may read runs and pools")
    airflow_password: SecretStr | None = Field(default=None, description="that user's password")
    warehouse_dsn: SecretStr | None = Field(default=None, description="libpq DSN of the role that reads the figures")
    disk_dir: Path | None = Field(default=None, description="a folder on the disk of the volumes")
    tls: Literal["on", "off"] = Field(default="off", description="on: the gateway's certificate is looked at")
    certificate_address: str = Field(default="nginx:8000", description="host:port of that certificate")
    stable_replicas: int = Field(default=2, ge=0, description="stable replicas that shall answer")
    log_format: LogFormat = Field(default="text", description="lines for people, or one object of JSON a line")
    canary_replicas: int = Field(default=1, ge=0, description="canary replicas that shall answer")
