from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

START = ["sh", ROOT / "docker/airflow/start.sh", "sh", "-c", "echo $AIRFLOW__API__BASE_URL $ROLLOUT_MLFLOW_PUBLIC_URL"]
IN_CLEAR = {
    "AIRFLOW__API__BASE_URL": "http://ml.example:8080",
    "ROLLOUT_MLFLOW_PUBLIC_URL": "http://ml.example:5000",
    "PUBLIC_HOST": "ml.example",
}


@pytest.mark.parametrize(
    ("settings", "links"),
    [
        ({}, "http://ml.example:8080 http://ml.example:5000"),
        ({"TLS": "off", "GATEWAY_PORT": "443"}, "http://ml.example:8080 http://ml.example:5000"),
        ({"TLS": "on", "GATEWAY_PORT": "443"}, "https://airflow.ml.example https://mlflow.ml.example"),
        ({"TLS": "on", "GATEWAY_PORT": "8443"}, "https://airflow.ml.example:8443 https://mlflow.ml.example:8443"),
        ({"TLS": "on", "GATEWAY_PORT": "443", "ROLLOUT_MLFLOW_PUBLIC_URL": ""}, "https://airflow.ml.example"),
        ({"TLS_BY_PROXY": "yes"}, "https://ml.example:8080 https://ml.example:5000"),
        ({"TLS_BY_PROXY": "yes", "ROLLOUT_MLFLOW_PUBLIC_URL": ""}, "https://ml.example:8080"),
        ({"TLS_BY_PROXY": "no"}, "http://ml.example:8080 http://ml.example:5000"),
    ],
    ids=["nothing", "off", "443", "another port", "no rollouts here", "a proxy", "a proxy, no rollouts", "no proxy"],
)
def test_links_have_the_address_that_a_browser_reaches(settings: dict[str, str], links: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", **IN_CLEAR, **settings}
    done = subprocess.run(START, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == links


@pytest.mark.parametrize(
    ("command", "calls"),
    [("scheduler", ["/opt/airflow/upkeep.py 30 5"]), ("triggerer", [])],
    ids=str,
)
def test_old_rows_are_deleted_beside_the_scheduler_alone(tmp_path: Path, command: str, calls: list[str]) -> None:
    for name, line in (
        ("python", f'echo "$@" > {tmp_path}/calls'),
        ("airflow", f"until [ {len(calls)} = 0 ] || [ -s {tmp_path}/calls ]; do sleep 0.1; done"),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "AIRFLOW__MLOPS__TASK_LOG_DAYS": "30",
        "AIRFLOW__MLOPS__TASK_LOG_GB": "5",
    }
    subprocess.run([*START[:2], "airflow", command, "--skip-serve-logs"], env=environment, check=True)
    found = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    assert found == calls


@pytest.mark.parametrize(
    ("settings", "command", "asked", "is_started"),
    [
        ({}, "celery", [], True),
        ({"WORKER_RELEASE": "right"}, "celery", ["-m mlops.worker check"], True),
        ({"WORKER_RELEASE": "wrong"}, "celery", ["-m mlops.worker check"], False),
        ({"WORKER_RELEASE": "wrong"}, "version", [], True),
        ({"WORKERS_ADDRESS": "10.0.0.5"}, "triggerer", [], True),
    ],
    ids=["here", "elsewhere", "refused", "another program", "the stack"],
)
def test_a_worker_on_another_host_starts_after_its_checks(
    tmp_path: Path, settings: dict[str, str], command: str, asked: list[str], is_started: bool
) -> None:
    for name, line in (
        ("python", f'echo "$@" >> {tmp_path}/asked; [ "$WORKER_RELEASE" != wrong ]'),
        ("airflow", f"touch {tmp_path}/started"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **settings}
    done = subprocess.run([*START[:2], "airflow", command, "worker"], env=environment, check=False)
    found = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
    assert (found, (tmp_path / "started").exists()) == (asked, is_started)
    assert (done.returncode == 0) is is_started
