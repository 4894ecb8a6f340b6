"""The stack on this machine, as a command or a notebook outside of it finds it: its file of settings and its ports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values

from ml_code.errors import SettingsError
from ml_code.settings import PREFIX, REPOSITORY, Settings, load_settings, make_settings, refuse_unknown_names

LOOPBACK = ("127.0.0.1", "localhost")

TOKENS = REPOSITORY / "docker" / "nginx" / "secrets" / "tokens"
"""Tokens of the gateway, beside those of the settings."""

AUTHORITY = REPOSITORY / "docker" / "nginx" / "authority" / "ca.crt"
"""The authority that `make tls` makes."""


BACKUP_DAYS = 14.0
"""Days that sets stay, unless BACKUP_DAYS says otherwise."""


@dataclass(frozen=True, slots=True)
class BackupTarget:
    """Where sets of backups go, for how many days, and the passphrase of the settings in them."""

    folder: Path
    days: float
    passphrase: str | None


@dataclass(frozen=True, slots=True)
class Administration:
    """Where Airflow and MLflow are, with the name and the password of each one's admin."""

    airflow_url: str
    airflow_login: tuple[str, str]
    mlflow_url: str
    mlflow_login: tuple[str, str]


def load_host_settings(env_file: Path | None = None) -> Settings:
    """Reads MLOPS_* if MLOPS_MLFLOW_URL is set, else the file of the stack on this machine.

    >>> workspace = open_workspace(load_host_settings())  # in a notebook beside the stack

    Raises:
        SettingsError: neither is there, a value is missing or wrong, or a MLOPS_* name is unknown.
    """
    refuse_unknown_names()
    if os.environ.get(f"{PREFIX}MLFLOW_URL"):
        return load_settings()
    env_file = env_file or find_env_file()
    if env_file.is_file():
        return make_settings(_describe_stack(env_file))
    raise SettingsError(
        f"settings: found neither {PREFIX}MLFLOW_URL in the environment nor the file {env_file}, expected one of them; "
        "run `make env` for the stack on this machine, or set the MLOPS_* variables of another one"
    )


def load_stack_settings(env_file: Path) -> Settings:
    """The settings of the stack that a file describes, whatever the environment says.

    Raises:
        SettingsError: the file or a value is missing.
    """
    if not env_file.is_file():
        raise SettingsError(f"settings: found no {env_file}, expected the .env of a stack; `make env` writes one")
    return make_settings(_describe_stack(env_file))


def read_backup_target(env_file: Path, folder: Path | None = None) -> BackupTarget:
    """Where backups go: the folder of the command line, or BACKUP_DIR of the environment or of the settings.

    Raises:
        SettingsError: none is named, or BACKUP_DAYS is not a number of days.
    """
    found = read_env_file(env_file) if env_file.is_file() else {}
    wanted = str(folder or os.environ.get("BACKUP_DIR") or found.get("BACKUP_DIR") or "")
    if not wanted:
        raise SettingsError(
            f"backups: found no BACKUP_DIR in {env_file}, expected a folder, best on another disk; set it, or name one "
            "by `--target`"
        )
    text = os.environ.get("BACKUP_DAYS") or found.get("BACKUP_DAYS") or str(BACKUP_DAYS)
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days < float("inf"):
        raise SettingsError(f"BACKUP_DAYS: expected a number of days above 0, found {text!r}; correct {env_file}")
    passphrase = os.environ.get("BACKUP_PASSPHRASE") or found.get("BACKUP_PASSPHRASE") or None
    return BackupTarget(env_file.resolve().parent / Path(wanted).expanduser(), days, passphrase)


def load_administration(env_file: Path | None = None) -> Administration:
    """Reads the admins of Airflow and MLflow from the file of the stack on this machine.

    Raises:
        SettingsError: the file or a password is missing, or MLOPS_MLFLOW_URL names another stack.
    """
    if os.environ.get(f"{PREFIX}MLFLOW_URL"):
        raise SettingsError(
            f"settings: found {PREFIX}MLFLOW_URL in the environment, expected none: the admins' passwords are in the "
            ".env of the stack; run the command there, or unset the variable"
        )
    settings, found = load_host_settings(env_file), read_env_file(env_file or find_env_file(), interpolate=True)
    if settings.airflow_password is None or not found.get("MLFLOW_ADMIN_PASSWORD"):
        raise SettingsError(
            "settings: found no AIRFLOW_ADMIN_PASSWORD or no MLFLOW_ADMIN_PASSWORD in the file of the stack, expected "
            "both; compare with .env.example"
        )
    return Administration(
        str(settings.airflow_url),
        (settings.airflow_username, settings.airflow_password.get_secret_value()),
        settings.mlflow_url,
        (found.get("MLFLOW_ADMIN_USERNAME") or "admin", found["MLFLOW_ADMIN_PASSWORD"]),
    )


def find_env_file(repository: Path = REPOSITORY) -> Path:
    """The settings of the stack that runs without Docker, if one does, else those of the compose project."""
    local = repository / ".local"
    return local / "env" if _is_running(local / "supervisord.pid") else repository / ".env"


def read_env_file(env_file: Path, *, interpolate: bool = False) -> dict[str, str]:
    """What a file in the form of .env sets.

    Raises:
        SettingsError: it is not text in UTF-8.
    """
    try:
        return {name: value or "" for name, value in dotenv_values(env_file, interpolate=interpolate).items()}
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"settings in {env_file}: found a line in another encoding, expected UTF-8 throughout; save it as UTF-8"
        ) from error


def describe_shell(*without: str) -> dict[str, str]:
    """The variables of this shell for a program that it starts, but for some."""
    return {name: value for name, value in os.environ.items() if name not in without}


def describe_database(values: Mapping[str, str], name: str) -> str:
    """The libpq DSN of a database as this machine reaches it, as the role of its name."""
    password = quote(values.get(f"{name.upper()}_DB_PASSWORD", ""), safe="")
    return f"postgresql://{name}:{password}@127.0.0.1:{values.get('POSTGRES_PORT') or '5432'}/{name}"


def keep_loopback_direct() -> None:
    """Exempts loopback from the environment's proxy, for this process and those it starts.

    A machine behind a proxy has HTTP_PROXY set, and NO_PROXY does not always name loopback.
    """
    found = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if found != "*":
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [found, *LOOPBACK]))


def _describe_stack(env_file: Path) -> dict[str, object]:
    """Settings for this machine, where the services publish their ports on loopback."""
    found = {name: value for name, value in read_env_file(env_file, interpolate=True).items() if value}
    found.setdefault("S3_TASKS_USER", "tasks")
    # A file of an older version has the root key alone, and `make env` adds the others.
    store = "S3_TASKS" if "S3_TASKS_PASSWORD" in found else "MINIO_ROOT"
    required = ("MLFLOW_TRAINER_PASSWORD", f"{store}_USER", f"{store}_PASSWORD", "WAREHOUSE_DB_PASSWORD")
    missing = [name for name in required if name not in found]
    if missing:
        raise SettingsError(
            f"settings in {env_file}: found no value for {', '.join(missing)}, expected one each; "
            "compare with .env.example, or set the MLOPS_* variables"
        )
    return {
        "mlflow_url": f"http://127.0.0.1:{found.get('MLFLOW_PORT', '5000')}",
        "mlflow_username": "trainer",
        "mlflow_password": found["MLFLOW_TRAINER_PASSWORD"],
        "s3_endpoint_url": _find_object_store(found),
        "s3_access_key": found[f"{store}_USER"],
        "s3_secret_key": found[f"{store}_PASSWORD"],
        "gate_signing_key": found.get("GATE_SIGNING_KEY"),
        "warehouse_dsn": describe_database(found, "warehouse"),
        "gateway_url": _find_gateway(found),
        "gateway_token": _find_token(found),
        "gateway_authority": AUTHORITY if AUTHORITY.is_file() else None,
        "airflow_url": f"http://127.0.0.1:{found.get('AIRFLOW_PORT', '8080')}",
        "airflow_username": found.get("AIRFLOW_ADMIN_USERNAME", "admin"),
        "airflow_password": found.get("AIRFLOW_ADMIN_PASSWORD"),
    }


def _find_gateway(found: Mapping[str, str]) -> str:
    """The gateway's address; its certificate is for the name that people open."""
    port = found.get("GATEWAY_PORT", "8000")
    return (
        f"https://{found.get('PUBLIC_HOST', 'localhost')}:{port}"
        if found.get("TLS") == "on"
        else f"http://127.0.0.1:{port}"
    )


def _find_token(found: Mapping[str, str]) -> str | None:
    """The first token of the settings, or of the gateway's file."""
    entries = found.get("GATEWAY_TOKENS", "").split(",")
    if TOKENS.is_file() and os.access(TOKENS, os.R_OK):
        entries += TOKENS.read_text(encoding="utf-8", errors="replace").splitlines()
    tokens = [entry.partition(":")[2].strip() for entry in entries if not entry.lstrip().startswith("#")]
    return next(filter(None, tokens), None)


def _is_running(pid_file: Path) -> bool:
    """Whether the process that a file names exists: after a power cut the file may be left without it."""
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
