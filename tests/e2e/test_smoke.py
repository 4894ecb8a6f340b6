"""`mlops smoke` and `mlops doctor` on the compose project, as a person runs them from the host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.stack import Stack

MLOPS = Path(sys.executable).with_name("mlops")


def run_mlops(stack: Stack, command: str) -> tuple[int, list[dict]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_")}
    done = subprocess.run(
        [str(MLOPS), command, "--env-file", str(stack.folder / ".env"), "--json"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_doctor_finds_every_service_and_nothing_wrong(stack: Stack) -> None:
    code, findings = run_mlops(stack, "doctor")
    assert code == 0, findings
    found = {finding["subject"]: finding["state"] for finding in findings}
    assert {found[name] for name in ("Docker", "gateway", "Airflow", "MLflow", "object store", "Postgres")} == {"ok"}
    assert found["clock"] == "ok"


def test_smoke_passes_every_step(stack: Stack) -> None:
    code, steps = run_mlops(stack, "smoke")
    assert code == 0, steps
    assert [step["step"] for step in steps if step["ok"]] == ["reach", "train", "gate", "deploy", "predict", "check"]
