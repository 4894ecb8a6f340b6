"""What the pipelines do when a task fails or hangs: three retries, then a notice."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from notices import tell_failure

# Errors that a retry would meet again.
FINAL_ERRORS = (
    "AddressError",
    "CatalogError",
    "DataCheckError",
    "ExportError",
    "GateError",
    "NoChampionError",
    "SettingsError",
    "TrainingError",
)


TASK_TIMEOUT = pendulum.duration(hours=2)
"""Longest try of a task: a hung one would hold a slot forever. The largest file takes some minutes."""

TRAINING_TIMEOUT = pendulum.duration(hours=24)
"""Longest try of a task that fits models; it holds the one slot of the pool `training`."""


HERE = {"queue": "rollout"}
"""For tasks that stay on the host of the replicas: they need these, the gate's key, or a folder of that host."""

FITS = {"pool": "training", "queue": "training", "execution_timeout": TRAINING_TIMEOUT}
"""For tasks that fit models, on any host with the memory for it. The pool counts them over all hosts."""


def make_task_defaults(*further_final_errors: str) -> dict[str, Any]:
    """The `default_args` of a DAG; further errors without a retry are passed by their dotted names."""
    final = [*(f"ml_code.errors.{name}" for name in FINAL_ERRORS), *further_final_errors]
    return {
        # Ten, twenty and forty seconds: longer than a restart of Postgres, MLflow or the object store takes.
        "retries": 3,
        "retry_delay": pendulum.duration(seconds=10),
        "retry_exponential_backoff": True,
        "execution_timeout": TASK_TIMEOUT,
        "retry_policy": ExceptionRetryPolicy(rules=[RetryRule(final, RetryAction.FAIL)]),
        "on_failure_callback": tell_failure(),
    }
