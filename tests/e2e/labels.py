"""Answers of the stack and the labels that are sent for them, and the DAGs that read both."""

from __future__ import annotations

import itertools

import httpx

from tests.e2e.stack import Stack

COLLECT, MONITOR, RETRAIN = "collect_predictions", "monitor_model", "model_retraining"

LOG_SECONDS = 95
"""After them a collection finds the log of what was answered before complete: it is from 90 s on."""


def answer(stack: Stack, rows: list[list[float]], **headers: str) -> str:
    """Asks for predictions, and returns the id of the answer."""
    found = stack.predict(rows, **headers)
    assert found.status_code == 200, found.text
    return str(found.headers["X-Request-Id"])


def label(stack: Stack, labels: list[dict[str, object]]) -> None:
    """Sends labels, a thousand at once."""
    for part in itertools.batched(labels, 1000):
        found = httpx.post(f"{stack.gateway}/feedback", json=list(part), timeout=60)
        assert found.status_code == 202, found.text
