from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[3]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the files that the scripts read."""
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    shutil.copy(ROOT / ".env.example", tmp_path)
    return tmp_path


def run(clone: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([f"docker/bin/{script}"], cwd=clone, check=False, capture_output=True, text=True)


def read_env(clone: Path) -> dict[str, str]:
    lines = (clone / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_env_has_no_known_secret_and_only_its_owner_may_read_it(clone: Path) -> None:
    assert run(clone, "env.sh").returncode == 0
    assert "=insecure-" not in (clone / ".env").read_text()
    assert (clone / ".env").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in clone.glob(".env*")].count(".env") == 1
    assert len(list(clone.glob(".env*"))) == 2


def test_the_file_with_mlflows_password_is_for_its_owner_alone(clone: Path) -> None:
    for name in ("python", "mlflow"):
        (clone / name).write_text("#!/bin/sh\n")
        (clone / name).chmod(0o755)
    environment = {"PATH": f"{clone}:/usr/bin:/bin", "MLFLOW_DB_PASSWORD": "secret", "MLFLOW_DB_ADDRESS": "db:5432"}
    environment["MLFLOW_AUTH_CONFIG_PATH"] = str(clone / "basic_auth.ini")
    subprocess.run(["sh", "docker/mlflow/start.sh"], cwd=clone, check=True, env=environment, umask=0o022)
    assert "secret" in (clone / "basic_auth.ini").read_text()
    assert (clone / "basic_auth.ini").stat().st_mode & 0o777 == 0o600


def test_all_secrets_differ(clone: Path) -> None:
    run(clone, "env.sh")
    secrets = [
        value for name, value in read_env(clone).items() if name.endswith(("PASSWORD", "SECRET", "KEY")) and value
    ]
    assert len(secrets) >= 11
    assert len(set(secrets)) == len(secrets)


def test_an_existing_env_is_never_overwritten(clone: Path) -> None:
    run(clone, "env.sh")
    before = (clone / ".env").read_text()
    assert run(clone, "env.sh").returncode == 0
    assert (clone / ".env").read_text() == before


def test_an_env_of_an_older_version_gets_the_secrets_that_it_lacks(clone: Path) -> None:
    (clone / ".env").write_text("MINE=1\nPOSTGRES_PASSWORD=mine")
    done = run(clone, "env.sh")
    assert ".env: WAREHOUSE_OWNER_DB_PASSWORD added, with a random value" in done.stdout
    assert (clone / ".env").read_text().startswith("MINE=1\nPOSTGRES_PASSWORD=mine\n")
    found = read_env(clone)
    assert found["POSTGRES_PASSWORD"] == "mine"
    assert len(found["AIRFLOW_FERNET_KEY"]) == 44
    assert not [value for value in found.values() if value.startswith("insecure-")]
    assert not {"GATEWAY_PORT", "TIMEZONE"} & set(found)


def test_a_port_that_another_program_holds_is_named_with_its_variable(clone: Path) -> None:
    run(clone, "env.sh")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = (clone / ".env").read_text()
        (clone / ".env").write_text("".join(_use_port(line, port) for line in text.splitlines(keepends=True)))
        done = run(clone, "ports.sh")
    assert done.returncode == 1
    assert f"MLFLOW_PORT: expected port {port} to be free" in done.stderr
    assert "GATEWAY_PORT" not in done.stderr


def test_the_last_value_counts_when_a_port_is_set_twice(clone: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (clone / ".env").write_text(f"MLFLOW_PORT={port}\nMLFLOW_PORT={free_port()}\n")
        assert run(clone, "ports.sh").returncode == 0
        (clone / ".env").write_text(f"MLFLOW_PORT={free_port()}\nMLFLOW_PORT={port}\n")
        assert run(clone, "ports.sh").returncode == 1


def test_the_urls_name_each_user_and_the_command_that_shows_the_password(clone: Path) -> None:
    run(clone, "env.sh")
    shown = run(clone, "urls.sh").stdout
    assert "http://localhost:8080/" in shown
    assert "grep ^AIRFLOW_ADMIN_PASSWORD= .env" in shown
    assert read_env(clone)["AIRFLOW_ADMIN_PASSWORD"] not in shown
    assert "WARNING" not in shown


def test_known_secrets_and_other_addresses_are_warned_about(clone: Path) -> None:
    text = (clone / ".env.example").read_text().replace("BIND_ADDRESS=127.0.0.1", "BIND_ADDRESS=0.0.0.0")
    (clone / ".env").write_text(text)
    shown = run(clone, "urls.sh").stdout
    assert "TLS" in shown
    assert "secrets of .env.example" in shown


def _use_port(line: str, port: int) -> str:
    """Free ports for all but MLflow's, which is taken."""
    name = line.partition("=")[0]
    if not name.endswith("_PORT"):
        return line
    return f"{name}={port}\n" if name == "MLFLOW_PORT" else f"{name}={free_port()}\n"
