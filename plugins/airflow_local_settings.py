"""What each process of Airflow does at its start: it masks secrets, and a parent of tasks imports their libraries.

Airflow imports this file, whose name it prescribes. Airflow itself masks the connections that a task reads, and its own
settings. It forgets the latter when a task starts. Here the secrets of the environment are masked in every log.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any
from urllib.parse import quote, quote_plus, unquote

# Airflow copies these names into its settings, where the function replaces its own of that name.
__all__ = ["configure_logging"]

SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|WEBHOOK|(?<!ACCESS)_KEY$")
PASSWORD_IN_ADDRESS = re.compile(r"://[^/@\s]*:([^@\s]+)@|\bpassword=(\S+)")
SHORTEST = 8
"""Characters; a shorter value may be a word of ordinary lines, and preflight accepts none."""

LIBRARIES = (
    "boto3",
    "mlflow",
    "pandas",
    "pandera.pandas",
    "psycopg2",
    "pyarrow.parquet",
    "skl2onnx",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
)
"""Of most tasks. Our own code is not among them, so that an edit needs no restart; onnxruntime starts a thread."""

WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "OPENBLAS_NUM_THREADS": "1"}
"""Arrow and OpenBLAS start threads when they are imported, and a fork loses them."""


def find_secrets(environment: Mapping[str, str]) -> set[str]:
    """Returns the values of secret variables, and the passwords within addresses."""
    secrets = {value for name, value in environment.items() if SECRET_NAME.search(name)}
    # Headers of exports, as authorization=Basic%20…; any of them may be a key.
    for pair in ",".join(text for name, text in environment.items() if name.endswith("_HEADERS")).split(","):
        value = unquote(pair.partition("=")[2].strip())
        secrets |= {value, *value.split()}
    for value in environment.values():
        for in_url, in_dsn in PASSWORD_IN_ADDRESS.findall(value):
            secrets |= {in_url, unquote(in_url), in_dsn.strip("'")}
    return {secret for secret in secrets if len(secret) >= SHORTEST}


def list_forms(secret: str) -> set[str]:
    """Returns a secret as plain text, URLs, headers and JSON write it."""
    json_form = secret.replace("\\", "\\\\").replace('"', '\\"')
    return {secret, quote(secret, safe=""), quote_plus(secret), json_form, *_encode(secret.encode())}


def mask_always(masker: Any, secrets: set[str]) -> None:
    """Makes a masker know the secrets now, and again whenever it is reset."""
    forget = masker.reset_masker

    def forget_others() -> None:
        forget()
        for secret in secrets:
            masker.add_mask(secret)

    masker.reset_masker = forget_others
    for secret in secrets:
        masker.add_mask(secret)


def mask_environment(environment: Mapping[str, str]) -> None:
    """Masks the secrets of an environment in the logs of Airflow's services and of tasks."""
    # Airflow has two maskers. The second belongs to tasks and their supervisors, who reset it.
    from airflow._shared.secrets_masker import _secrets_masker as of_services  # noqa: PLC0415
    from airflow.sdk._shared.secrets_masker import _secrets_masker as of_tasks  # noqa: PLC0415

    forms = {form for secret in find_secrets(environment) for form in list_forms(secret)}
    for masker in (of_services(), of_tasks()):
        mask_always(masker, forms)


def configure_logging() -> Any:
    """Configures Airflow's logging, and masks what a process prints: a scheduler repeats the logs of its tasks."""
    import structlog  # noqa: PLC0415
    from airflow import logging_config  # noqa: PLC0415
    from airflow.sdk.log import mask_logs  # noqa: PLC0415

    configured = logging_config.configure_logging()
    *processors, render = structlog.get_config()["processors"]
    structlog.configure(processors=[*processors, mask_logs, render])
    return configured


def forks_tasks(arguments: Sequence[str], executor: str) -> bool:
    """Whether a process of Airflow, by its command line, is the scheduler whose children run the tasks.

    A worker of Celery is left as it is: with the libraries in its main process, two slots take 550 MB instead of 420.
    """
    return list(arguments[1:2]) == ["scheduler"] and executor == "LocalExecutor"


def preload() -> None:
    """Imports the libraries of tasks once, in their parent: a training then takes half of its CPU time."""
    from airflow.configuration import conf  # noqa: PLC0415

    if forks_tasks(sys.argv, conf.get("core", "executor")):
        os.environ.update(WITHOUT_THREADS)
        for name in LIBRARIES:
            import_module(name)


def _encode(raw: bytes) -> Iterator[str]:
    """Yields the characters of base64 that hold these bytes alone, at each of the three places in a longer text."""
    for before, mixed in enumerate((0, 2, 3)):
        own = slice(mixed, (before + len(raw)) * 8 // 6)
        yield base64.b64encode(bytes(before) + raw)[own].decode()
        yield base64.urlsafe_b64encode(bytes(before) + raw)[own].decode()


mask_environment(os.environ)
preload()
