from __future__ import annotations

import os
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


def run(clone: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [f"docker/bin/{script}"], cwd=clone, check=False, capture_output=True, text=True, env=environment
    )


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


@pytest.mark.parametrize("name", ["PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT"])
def test_a_port_of_a_profile_counts_where_the_profile_is_on(clone: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (clone / ".env").write_text(f"{name}={port}\n")
        assert run(clone, "ports.sh").returncode == 0
        assert run(clone, "ports.sh", PROFILE="celery").returncode == 0
        assert run(clone, "ports.sh", PROFILE="celery observability").returncode == 1
        (clone / ".env").write_text(f"COMPOSE_FILE=a:docker/observability/compose.yaml\n{name}={port}\n")
        assert run(clone, "ports.sh").returncode == 1


def test_the_urls_name_the_pages_of_a_profile_where_it_is_on(clone: Path) -> None:
    run(clone, "env.sh")
    assert "Grafana" not in run(clone, "urls.sh").stdout
    shown = run(clone, "urls.sh", PROFILE="observability").stdout
    assert "http://localhost:3000/" in shown
    assert "grep ^GRAFANA_ADMIN_PASSWORD= .env" in shown
    assert "http://127.0.0.1:9090/" in shown


def test_the_urls_name_each_user_and_the_command_that_shows_the_password(clone: Path) -> None:
    run(clone, "env.sh")
    shown = run(clone, "urls.sh").stdout
    assert "http://localhost:8080/" in shown
    assert "grep ^AIRFLOW_ADMIN_PASSWORD= .env" in shown
    assert read_env(clone)["AIRFLOW_ADMIN_PASSWORD"] not in shown
    assert "WARNING" not in shown


def test_behind_a_proxy_with_tls_every_url_is_the_proxys(clone: Path) -> None:
    text = (clone / ".env.example").read_text().replace("TLS_BY_PROXY=no", "TLS_BY_PROXY=yes")
    (clone / ".env").write_text(text.replace("BIND_ADDRESS=127.0.0.1", "BIND_ADDRESS=10.0.0.5"))
    shown = run(clone, "urls.sh").stdout
    assert "http://" not in shown
    assert {f"https://localhost:{port}/" for port in (8000, 8080, 5000, 9001)} <= set(shown.split())
    assert "in clear" not in shown


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


LIBRESSL = """#!/usr/bin/env bash
known=" req ecparam x509 -new -x509 -sha256 -days -config -key -out -name -genkey -noout -in -text -checkend "
known+=" -req -CA -CAkey -CAcreateserial -extfile -extensions -subj "
for word in "$@"; do
  if [[ $word == [a-z-]* && $word != */* && ! $word =~ ^[a-z0-9]+$ && $known != *" $word "* ]]; then
    echo "unknown option $word" >&2
    exit 1
  fi
done
exec /usr/bin/openssl "$@"
"""
"""OpenSSL with the options alone that LibreSSL has as well."""


def make_certificate(clone: Path, host: str) -> subprocess.CompletedProcess[str]:
    (clone / "openssl").write_text(LIBRESSL)
    (clone / "openssl").chmod(0o755)
    (clone / ".env").write_text(f"PUBLIC_HOST={host}\nAIRFLOW_UID={os.getuid()}\n")
    environment = {"PATH": f"{clone}:/usr/bin:/bin"}
    command = ["docker/bin/tls.sh"]
    return subprocess.run(command, cwd=clone, env=environment, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("host", ["localhost", "ml.example.org", "10.0.0.5", f"{'long.' * 14}example.org"])
def test_a_certificate_is_made_and_kept_with_the_openssl_of_a_mac(clone: Path, host: str) -> None:
    done = make_certificate(clone, host)
    assert (done.returncode, done.stderr) == (0, "")
    secrets, authority = clone / "docker/nginx/secrets", clone / "docker/nginx/authority/ca.crt"
    first = (secrets / "tls.crt").read_text()
    assert make_certificate(clone, host).stdout.endswith("found, kept; valid for a month at least\n")
    assert (secrets / "tls.crt").read_text() == first
    is_address = host[0].isdigit()
    check = [
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        authority,
        "-verify_ip" if is_address else "-verify_hostname",
    ]
    subprocess.run([*check, host, secrets / "tls.crt"], check=True, capture_output=True)
    assert make_certificate(clone, "other.example").stdout.startswith(
        "docker/nginx/secrets/tls.crt: made for other.example"
    )
    assert (secrets / "tls.crt").read_text() != first


def test_a_certificate_of_ones_own_for_every_name_of_a_domain_is_kept(clone: Path) -> None:
    own = clone / "docker/nginx/secrets/tls.crt"
    own.parent.mkdir(exist_ok=True)
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "90",
        "-subj",
        "/CN=x",
        "-keyout",
        own,
    ]
    subprocess.run(
        [*request, "-addext", "subjectAltName=DNS:*.example.org", "-out", own], check=True, capture_output=True
    )
    assert "found, kept" in make_certificate(clone, "ml.example.org").stdout


def test_an_error_of_openssl_is_shown(clone: Path) -> None:
    shutil.rmtree(clone / "docker/nginx/secrets", ignore_errors=True)
    done = make_certificate(clone, "localhost")
    assert done.returncode == 1
    assert "docker/nginx/secrets/tls.key.new: expected a certificate, found: " in done.stderr


def list_modes(clone: Path) -> set[int]:
    """Modes of what containers read, without the folders' search bit of files."""
    names = ("docker/postgres/pg_hba.conf", "docker/minio/users.sh", "ml_code/catalog/iris.toml", "ml_code/catalog")
    return {(clone / name).stat().st_mode & 0o044 for name in names}


def test_a_clone_for_its_owner_alone_is_opened_to_the_containers_and_its_secrets_are_not(clone: Path) -> None:
    for name in ("dags", "plugins", "serving", "mlops", "ml_code/catalog"):
        (clone / name).mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "ml_code/catalog/iris.toml"):
        (clone / name).touch()
    assert make_certificate(clone, "localhost").returncode == 0
    subprocess.run(["chmod", "-R", "go-rwx", clone], check=True)
    assert list_modes(clone) == {0}
    done = run(clone, "modes.sh")
    assert "made readable for the containers' users" in done.stdout
    assert list_modes(clone) == {0o044}
    assert (clone / "docker/nginx/secrets").stat().st_mode & 0o055 == 0o055
    private = [clone / ".env", *clone.glob("docker/nginx/secrets/tls.*"), *clone.glob("docker/nginx/authority/*")]
    assert len(private) >= 5
    assert {file.stat().st_mode & 0o077 for file in private} == {0}
    again = run(clone, "modes.sh")
    assert (again.returncode, again.stdout) == (0, "")
