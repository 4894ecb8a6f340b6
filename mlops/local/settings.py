"""The local stack's settings from the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mlops.errors import StateFolderError

REPOSITORY = Path(__file__).resolve().parents[2]

PROGRAMS = Path(sys.executable).parent
"""Folder of the programs of this Python environment: airflow, mlflow, rclone, supervisord."""

_OF_THE_STACK = ("AIRFLOW", "AWS_", "BENTOML_", "MLFLOW_", "MLOPS_", "PG", "RCLONE_", "ROLLOUT_", "SERVING_")


def check_checkout() -> None:
    """Checks that this is a checkout: the installed package has neither DAG files nor the compose file.

    Raises:
        StateFolderError: this is not a checkout.
    """
    if not (REPOSITORY / "docker-compose.yaml").is_file():
        raise StateFolderError(
            f"{REPOSITORY}: expected a checkout with docker-compose.yaml, found none; run this command in a clone"
        )


def read_base_environment() -> dict[str, str]:
    """The base environment of every service: this process's, without the variables of the stack's parts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_STACK)}
    return kept | {"PATH": f"{PROGRAMS}{os.pathsep}{kept.get('PATH', os.defpath)}"}


def read_asked_ports(names: Mapping[str, str]) -> dict[str, str]:
    """Ports that the environment requests, by service, as texts.

    >>> read_asked_ports({"airflow": "AIRFLOW_PORT"})  # with AIRFLOW_PORT=8081
    {'airflow': '8081'}
    """
    return {service: os.environ[name] for service, name in names.items() if os.environ.get(name)}


def is_root() -> bool:
    """Whether this process runs as root, as which Postgres refuses to run."""
    return os.geteuid() == 0
