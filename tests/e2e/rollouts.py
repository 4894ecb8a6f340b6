"""Rollouts of the running stack: begun by Airflow or by the steps alone, and how they ended."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.airflow import SERVE, Airflow
from tests.e2e.stack import Stack
from tests.waiting import wait_until

DRIVER = Path(__file__).with_name("drive_rollout.py")
ENDS = {"promoted", "aborted", "inconclusive", "rolled back"}
"""States of a rollout that is over."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Begins rollouts of iris and tells how they end."""

    stack: Stack
    airflow: Airflow

    def run_dag(self, version: str, seconds: float = 900, **params: Any) -> dict[str, Any]:
        """Runs `model_serving_pipeline` to its end; returns the status of the rollout."""
        run_id = self.start_dag(version, **params)
        self.airflow.wait_for_run(SERVE, run_id, seconds)
        return self.wait_for_end(version, 30) | {"run_id": run_id}

    def start_dag(self, version: str, **params: Any) -> str:
        """Triggers `model_serving_pipeline` with the p99 of most catalogs; returns the run's id."""
        options = {"latency_margin_ms": 50, **params}
        return self.airflow.trigger(SERVE, model="iris", version=version, **options)

    def start_steps(self, version: str, owner: str, *killed: str) -> subprocess.Popen[str]:
        """Begins the steps alone; with a step and seconds they are killed there."""
        scheduler = self.stack.containers("airflow-scheduler")[0]
        command = ["docker", "exec", "--interactive", scheduler, "python", "-", version, owner, *killed]
        with DRIVER.open() as script:
            return subprocess.Popen(command, stdin=script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run_steps(self, version: str, owner: str, *killed: str, seconds: float = 600) -> tuple[int, str]:
        """Takes the steps to their end; answers their exit code and what they said."""
        process = self.start_steps(version, owner, *killed)
        output, errors = process.communicate(timeout=seconds)
        return process.returncode, output + errors

    def read(self) -> dict[str, Any]:
        """What is told of iris: its aliases, and the current or last rollout."""
        models = httpx.get(f"{self.stack.gateway}/rollouts", timeout=60).raise_for_status().json()["models"]
        return next(model for model in models if model["name"] == "iris")

    def read_reason(self, version: str) -> str:
        """Why the last rollout of a version ended: the public page does not say it."""
        query = f"SELECT reason FROM warehouse.rollout WHERE to_version = '{version}' ORDER BY rollout_id DESC LIMIT 1"
        return self.stack.query_warehouse(query)

    def wait_for_end(self, version: str, seconds: float) -> dict[str, Any]:
        """Waits until the rollout of a version is told to be over."""

        def find() -> dict[str, Any] | None:
            rollout: dict[str, Any] = self.read()["rollout"] or {}
            is_over = rollout.get("state") in ENDS
            is_found = is_over and rollout["to_version"] == version
            return {**rollout, "reason": self.read_reason(version)} if is_found else None

        return wait_until(find, seconds, lambda: f"the end of the rollout of version {version}; found {self.read()}")
