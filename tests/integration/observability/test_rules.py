"""The alert rules and Prometheus' settings, by Prometheus' own tool in its own image."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
IMAGE = "prom/prometheus:v3.5.3"


def promtool(*arguments: str) -> str:
    """Runs promtool on the repository, without a network."""
    run = ["docker", "run", "--rm", "--network", "none", f"--volume={REPOSITORY}:/repository:ro"]
    command = [*run, "--workdir", "/repository", "--entrypoint", "promtool", IMAGE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_its_settings_and_rules() -> None:
    assert "SUCCESS" in promtool("check", "config", "docker/observability/prometheus/prometheus.yml")


@pytest.mark.parametrize("file", ["alerts.yml", "days.yml", "month.yml"])
def test_alerts_fire_when_they_should_and_stay_quiet_otherwise(file: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", f"tests/integration/observability/{file}")
