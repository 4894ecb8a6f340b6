"""The settings that a worker on another host needs, and no others."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

from mlops.errors import WorkerError
from mlops.worker.release import Release

REQUIRED = (
    "BROKER_PASSWORD",
    "CELERY_DB_PASSWORD",
    "MLFLOW_TRAINER_PASSWORD",
    "S3_TASKS_PASSWORD",
    "WAREHOUSE_DB_PASSWORD",
)
"""Every secret of such a worker: none of Airflow, of the gate, of the gateway or of the store's root."""

OTHERS = (
    "IMAGE_TAG",
    "S3_ENDPOINT_URL",
    "S3_TASKS_USER",
    "INPUT_URIS",
    "TIMEZONE",
    "LOG_FORMAT",
    "PUBLIC_HOST",
    "AIRFLOW_PORT",
    "GATEWAY_PORT",
    "TLS",
    "TLS_BY_PROXY",
)
"""Settings of the stack that its tasks know; those after LOG_FORMAT make the links of notices."""

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~-]*")


def list_settings(values: Mapping[str, str], host: str | None, release: Release, commit: str) -> dict[str, str]:
    """The settings by name.

    Args:
        values: those of the stack's .env.
        host: where the worker reaches the stack; None: at WORKERS_ADDRESS.
        release: of the checkout that the stack runs.
        commit: of that checkout, or an empty text.

    Raises:
        WorkerError: the address does not resolve, or a secret is missing or known to everybody.
    """
    address = find_address(host or values.get("WORKERS_ADDRESS", ""))
    secrets = {name: values.get(name, "") for name in REQUIRED}
    if missing := [name for name, value in secrets.items() if not value]:
        raise WorkerError(
            f"settings: found no {', '.join(missing)}, expected one each; `make env` adds what an older .env lacks"
        )
    if known := [name for name, value in secrets.items() if value.startswith("insecure-")]:
        raise WorkerError(
            f"settings: found {', '.join(known)} of .env.example, expected random ones for a worker on another host; "
            "move .env away and run `make env`"
        )
    told = {"STACK_ADDRESS": address, "WORKER_RELEASE": release.text, "GIT_COMMIT": commit}
    kept = {name: values[name] for name in OTHERS if values.get(name)}
    return {name: value for name, value in (told | kept | secrets).items() if value}


def format_settings(settings: Mapping[str, str]) -> str:
    """The text of an .env file, in which Compose replaces nothing.

    Raises:
        WorkerError: a value has more than one line, or backslashes that no quotes can hold.
    """
    if broken := [name for name, value in settings.items() if "\n" in value or "\r" in value]:
        raise WorkerError(f"settings: expected one line each, found several in {', '.join(broken)}; correct .env")
    if broken := [name for name, value in settings.items() if value.endswith("\\") or "\\'" in value]:
        raise WorkerError(
            "settings: expected no backslash at the end or before a single quote, which Compose cannot read, found one "
            f"in {', '.join(broken)}; choose another value in .env, and `make up` again"
        )
    lines = (f"{name}={_quote(value)}" for name, value in settings.items())
    return "\n".join(["# Of `mlops worker env`. It holds passwords: only its owner may read it.", *lines])


def find_address(host: str) -> str:
    """The IP address of a host, which the worker has as an entry of its hosts file.

    Raises:
        WorkerError: there is none.
    """
    if not host:
        raise WorkerError(
            "WORKERS_ADDRESS: expected the address at which other hosts reach this one, found none; set it in .env, "
            'and run `make up PROFILE="celery hosts"`'
        )
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise WorkerError(
            f"--host {host[:100]}: expected a name that resolves or an IP address, found that it does not resolve; use "
            "WORKERS_ADDRESS of .env"
        ) from error


def _quote(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    # Between single quotes Compose reads a backslash as one, but for that before a quote.
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"
