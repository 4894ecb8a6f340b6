"""Where the outside systems are and who we are to them; the only module of `ml_code` that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml_code.errors import SettingsError

PREFIX = "MLOPS_"
REPOSITORY = Path(__file__).resolve().parents[1]
LOOPBACK = ("127.0.0.1", "localhost")


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
    mlflow_username: str = Field(description="an MLflow user who may make runs and model versions")
    mlflow_password: SecretStr = Field(description="that user's password")
    s3_endpoint_url: str = Field(description="the S3 server, such as http://minio:9000")
    s3_access_key: str = Field(description="access key of an S3 user who may read and write the datasets")
    s3_secret_key: SecretStr = Field(description="that user's secret key")
    warehouse_dsn: SecretStr | None = Field(default=None, description="libpq DSN of the warehouse; training needs none")
    gateway_url: str = Field(default="http://nginx:8000", description="where predictions are asked for")
    datasets_uri: str = Field(
        default="s3://datasets", description="where clean snapshots and incoming files lie: s3://bucket or a folder"
    )
    predictions_uri: str = Field(
        default="s3://predictions", description="where batches of predictions are written: s3://bucket or a folder"
    )
    datasets_dir: Path | None = Field(
        default=None, description="folder with <dataset>.csv files, used where a dataset's own source is not reached"
    )
    catalog_dir: Path | None = Field(
        default=None, description="folder of dataset TOML files instead of the shipped one"
    )
    git_commit: str | None = Field(default=None, description="commit of the code that runs, where there is no .git")
    training_threads: int = Field(default=2, ge=1, description="threads that one training may use")
    batch_threads: int = Field(default=2, ge=1, description="threads that one shard of a batch of predictions may use")


def find_env_file(repository: Path = REPOSITORY) -> Path:
    """The settings of the stack that runs without Docker, if one does, else those of the compose project."""
    local = repository / ".local"
    return local / "env" if _is_running(local / "supervisord.pid") else repository / ".env"


def read_env_file(env_file: Path, *, interpolate: bool = False) -> dict[str, str]:
    """What a file in the form of .env sets.

    Raises:
        SettingsError: it is no text in UTF-8.
    """
    try:
        return {name: value or "" for name, value in dotenv_values(env_file, interpolate=interpolate).items()}
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"settings in {env_file}: found a line in another encoding, expected UTF-8 throughout; save it as UTF-8"
        ) from error


def load_settings(env_file: Path | None = None) -> Settings:
    """Reads MLOPS_* if MLOPS_MLFLOW_URL is set, else the file of the stack on this machine.

    Raises:
        SettingsError: neither is there, a value is missing or wrong, or a MLOPS_* name is unknown.
    """
    _refuse_unknown_names()
    if os.environ.get(f"{PREFIX}MLFLOW_URL"):
        return _build({})
    env_file = env_file or find_env_file()
    if env_file.is_file():
        return _build(_describe_stack(env_file))
    raise SettingsError(
        f"settings: found neither {PREFIX}MLFLOW_URL in the environment nor the file {env_file}, expected one of them; "
        "run `make env` for the stack on this machine, or set the MLOPS_* variables of another one"
    )


def keep_loopback_direct() -> None:
    """Lets no proxy of the environment stand between this machine and itself, for this process and those it starts.

    Who reaches the internet by a proxy alone has HTTP_PROXY set, and not always that loopback is an exception.
    """
    found = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if found != "*":
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [found, *LOOPBACK]))


def read_project_run_id() -> str | None:
    """Id of the run that `mlflow run` has made for this process, if it was started by that."""
    return os.environ.get("MLFLOW_RUN_ID") or None


def _refuse_unknown_names() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"settings: found the unknown names {', '.join(unknown)}, expected only {', '.join(sorted(known))}; "
            "correct or unset them"
        )


def _build(values: Mapping[str, object]) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"settings: found {problems}; expected every value set and valid, correct them") from error


def _describe_stack(env_file: Path) -> dict[str, object]:
    """Settings for this machine, whose services publish their ports on loopback."""
    found = {name: value for name, value in read_env_file(env_file, interpolate=True).items() if value}
    required = ("MLFLOW_TRAINER_PASSWORD", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "WAREHOUSE_DB_PASSWORD")
    missing = [name for name in required if name not in found]
    if missing:
        raise SettingsError(
            f"settings in {env_file}: found no value for {', '.join(missing)}, expected one each; "
            "compare with .env.example, or set the MLOPS_* variables"
        )
    warehouse = (
        f"postgresql://warehouse:{quote(found['WAREHOUSE_DB_PASSWORD'], safe='')}"
        f"@127.0.0.1:{found.get('POSTGRES_PORT', '5432')}"
    )
    return {
        "mlflow_url": f"http://127.0.0.1:{found.get('MLFLOW_PORT', '5000')}",
        "mlflow_username": "trainer",
        "mlflow_password": found["MLFLOW_TRAINER_PASSWORD"],
        "s3_endpoint_url": _find_object_store(found),
        "s3_access_key": found["MINIO_ROOT_USER"],
        "s3_secret_key": found["MINIO_ROOT_PASSWORD"],
        "warehouse_dsn": f"{warehouse}/warehouse",
        "gateway_url": f"http://127.0.0.1:{found.get('GATEWAY_PORT', '8000')}",
    }


def _is_running(pid_file: Path) -> bool:
    """Whether the process that a file names is there: after a power cut the file is, and the process is not."""
    try:
        os.kill(int(pid_file.read_text()), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _find_object_store(found: Mapping[str, str]) -> str:
    """The address as this machine sees it: `minio` is a name inside the compose project only."""
    url = found.get("S3_ENDPOINT_URL", "")
    if url and urlsplit(url).hostname != "minio":
        return url
    return f"http://127.0.0.1:{found.get('MINIO_PORT', '9000')}"
