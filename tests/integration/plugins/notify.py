"""Sends one notice, in the process of the caller's choice."""

from __future__ import annotations

from types import SimpleNamespace

from airflow import settings


def notify(timeout_seconds: int) -> None:
    """Tells of a run that ended well; waits so long for an answer of Slack, and not between two tries."""
    settings.initialize()
    import notices  # noqa: PLC0415  # Airflow adds the folder of the plugins

    notices.TIMEOUT_SECONDS, notices.LONGEST_SECONDS, notices.PAUSES_SECONDS = timeout_seconds, 60, (0, 0)
    notices.tell_success().notify({"dag": SimpleNamespace(dag_id="etl"), "run_id": "1"})
