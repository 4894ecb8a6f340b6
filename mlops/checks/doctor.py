"""Reads the facts about this machine that `mlops doctor` judges."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import httpx
import psutil

from ml_code.disk import measure_disk
from ml_code.errors import SettingsError
from mlops.backup.sets import find_newest
from mlops.checks import findings
from mlops.checks.findings import Answer, Finding
from mlops.host import read_backup_target, read_env_file
from mlops.local import openmp
from mlops.local.ports import LOOPBACK, is_port
from mlops.local.settings import REPOSITORY

ASK_SECONDS = 30.0
"""Longest wait for an answer: a service that starves on a busy machine takes more than ten."""

GB = 1e9
DAY_SECONDS = 86_400

_POSTGRES_GREETING = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""Asks whether the server speaks TLS; any Postgres answers with one letter, even without TLS."""


def examine(env_file: Path) -> list[Finding]:
    """Examines this machine for the stack that a settings file describes."""
    values, example = _read(env_file), _read(REPOSITORY / ".env.example") or {}
    settings = {**example, **(values or {})}
    ports = {name: int(value) for name, value in settings.items() if name.endswith("_PORT") and is_port(value)}
    answers = ask_services(ports)
    return [
        _examine_docker(),
        findings.check_memory(psutil.virtual_memory().total / GB),
        findings.check_disk(shutil.disk_usage(REPOSITORY).free / GB, measure_disk(REPOSITORY)),
        findings.check_settings(values, example),
        _examine_backup(env_file),
        findings.check_packages(read_pins(REPOSITORY / "docker/requirements/dev.txt"), _list_installed()),
        findings.check_openmp(is_installed=openmp.is_installed()),
        *findings.check_services(answers),
        *_examine_clocks(ports, answers),
    ]


def ask_services(ports: Mapping[str, int]) -> dict[str, tuple[str, Answer]]:
    """Calls every service whose port the settings name, all at once: several may be silent until the time is over."""
    asked = {service: check for service, check in SERVICES.items() if check[0] in ports}
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        answers = list(pool.map(lambda check: _ask_port(ports[check[0]], check[1]), asked.values()))
    return {
        service: (f"{name} {ports[name]}", answer)
        for (service, (name, _)), answer in zip(asked.items(), answers, strict=True)
    }


def read_pins(requirements: Path) -> dict[str, str]:
    """Versions of the required packages, by their normalized names."""
    pinned = {}
    for name, version, marker in re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)(.*)$", requirements.read_text(), re.M):
        # A package for some platforms may be missing on this one.
        if ";" not in marker:
            pinned[_normalize(name)] = version
    return pinned


def _examine_docker() -> Finding:
    if shutil.which("docker") is None:
        return findings.check_docker(None, None, has_client=False)
    engine = _ask_docker("version", "--format", "{{.Server.Version}}")
    return findings.check_docker(engine, _ask_docker("compose", "version", "--short"), has_client=True)


def _examine_backup(env_file: Path) -> Finding:
    try:
        target = read_backup_target(env_file)
    except SettingsError:
        return findings.check_backup(None, has_target=False)
    newest = find_newest(target.folder)
    age = (datetime.now(UTC) - newest.made_at).total_seconds() / DAY_SECONDS if newest else None
    return findings.check_backup(age, has_target=True)


def _ask_docker(*arguments: str) -> str | None:
    command = ["docker", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _examine_clocks(ports: Mapping[str, int], answers: Mapping[str, tuple[str, Answer]]) -> list[Finding]:
    """Compares the clock with the first service that returns a date: the object store refuses a large difference."""
    for service, name in (("object store", "the object store"), ("MLflow", "MLflow"), ("Airflow", "Airflow")):
        # Another program's clock at this port does not matter.
        _, answered = answers.get(service, ("", "silent"))
        answer = _get(ports[SERVICES[service][0]], "/") if answered == "answers" else None
        if answer is not None and (date := findings.read_date(answer.headers.get("Date", ""))):
            return [findings.check_clock(name, date, datetime.now(UTC))]
    return []


def _ask_port(port: int, is_it: Callable[[int], bool]) -> Answer:
    with socket.socket() as probe:
        probe.settimeout(ASK_SECONDS)
        if probe.connect_ex((LOOPBACK, port)) != 0:
            return "silent"
    return "answers" if is_it(port) else "taken"


def _is_gateway(port: int) -> bool:
    """A gateway with TLS sends a request in clear on to HTTPS."""
    answer = _get(port, "/rollouts")
    if answer is None:
        return False
    is_safe = answer.status_code == httpx.codes.PERMANENT_REDIRECT
    return answer.headers.get("Location", "").startswith("https://") if is_safe else '"registry"' in answer.text


def _is_airflow(port: int) -> bool:
    return _says(port, "/api/v2/monitor/health", "metadatabase")


def _is_mlflow(port: int) -> bool:
    return _says(port, "/health", "OK")


def _is_object_store(port: int) -> bool:
    """S3 refuses a request without a signature, in XML."""
    return _says(port, "/", "<Error>")


def _is_postgres(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=ASK_SECONDS) as connection:
            connection.sendall(_POSTGRES_GREETING)
            return connection.recv(1) in {b"S", b"N"}
    except OSError:
        return False


SERVICES: Mapping[str, tuple[str, Callable[[int], bool]]] = {
    "gateway": ("GATEWAY_PORT", _is_gateway),
    "Airflow": ("AIRFLOW_PORT", _is_airflow),
    "MLflow": ("MLFLOW_PORT", _is_mlflow),
    "object store": ("MINIO_PORT", _is_object_store),
    "Postgres": ("POSTGRES_PORT", _is_postgres),
}
"""Variable of each service's port, and the check that tells the service from another program."""


def _says(port: int, path: str, expected: str) -> bool:
    answer = _get(port, path)
    return answer is not None and expected in answer.text


def _get(port: int, path: str) -> httpx.Response | None:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}{path}", timeout=ASK_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return None


def _read(file: Path) -> dict[str, str] | None:
    return read_env_file(file) if file.is_file() else None


def _list_installed() -> dict[str, str]:
    return {_normalize(found.metadata["Name"]): found.version for found in distributions()}


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
