"""Tells each task the trace of its run: its log begins with the trace id, and its spans, runs and requests carry it.

Airflow makes a trace for every run, whether it sends spans or not.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from ml_code.traces import HEADER, join

log = logging.getLogger(__name__)


@hookimpl
def on_task_instance_running(previous_state: Any, task_instance: Any) -> None:
    """Joins the trace of a task's run; Airflow calls this in the task's process, before the task."""
    labels = {f"airflow.{name}": str(getattr(task_instance, name)) for name in ("dag_id", "run_id", "task_id")}
    trace = join((task_instance.context_carrier or {}).get(HEADER), labels)
    if trace is not None:
        log.info("trace_id=%s", trace.trace_id)


class TraceIds(AirflowPlugin):
    """Makes Airflow call this module."""

    name = "trace_ids"
    listeners = (sys.modules[__name__],)
