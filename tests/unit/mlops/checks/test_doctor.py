from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops.app import app
from mlops.checks import doctor
from tests.ports import free_port

ROOT = Path(__file__).parents[4]


class Mlflow(BaseHTTPRequestHandler):
    """Reports that it is healthy, with a date ten minutes ago."""

    def say_date(self) -> str:
        return formatdate(time.time() - 600, usegmt=True)

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", self.say_date())
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield int(server.server_address[1])
        server.shutdown()


@pytest.fixture
def mlflow() -> Iterator[int]:
    with run_server(Mlflow) as port:
        yield port


def examine(env_file: Path) -> dict[str, dict[str, str]]:
    """The command's findings, by subject."""
    done = CliRunner().invoke(app, ["doctor", "--env-file", str(env_file), "--json"], catch_exceptions=False)
    return {finding["subject"]: finding for finding in json.loads(done.stdout)}


def test_a_service_another_program_and_a_closed_port_are_told_apart(mlflow: int) -> None:
    free = free_port()
    found = doctor.ask_services({"MLFLOW_PORT": mlflow, "AIRFLOW_PORT": mlflow, "GATEWAY_PORT": free})
    assert found == {
        "gateway": (f"GATEWAY_PORT {free}", "silent"),
        "Airflow": (f"AIRFLOW_PORT {mlflow}", "taken"),
        "MLflow": (f"MLFLOW_PORT {mlflow}", "answers"),
    }


def test_pins_are_those_that_every_platform_has(tmp_path: Path) -> None:
    file = tmp_path / "dev.txt"
    file.write_text(
        "Flask_Login==1.2 \\\n    --hash=sha256:00\nmlflow[auth]==3.17.2\npywin32==3 ; sys_platform == 'win32' \\\n"
    )
    assert doctor.read_pins(file) == {"flask-login": "1.2", "mlflow": "3.17.2"}
    assert len(doctor.read_pins(ROOT / "docker/requirements/dev.txt")) > 200


def test_the_command_lists_problems_and_ends_with_1(tmp_path: Path, mlflow: int) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(f"MLFLOW_PORT={mlflow}\nMINIO_PORT=1\n")
    done = CliRunner().invoke(app, ["doctor", "--env-file", str(env_file), "--json"])
    states = {finding["subject"]: finding["state"] for finding in json.loads(done.stdout)}
    assert states["settings"] == "failure"
    assert states["MLflow"] == "ok"
    assert states["object store"] == "failure"
    assert states["clock"] == "failure"
    assert done.exit_code == 1


@pytest.mark.parametrize("date", ["soon", "Wed, 25 Nov 2026 09:00:00", ""])
def test_an_invalid_date_or_one_without_zone_is_not_an_error(tmp_path: Path, date: str) -> None:
    class Odd(Mlflow):
        def say_date(self) -> str:
            return date

    with run_server(Odd) as port:
        (tmp_path / "env").write_text(f"MLFLOW_PORT={port}\nMINIO_PORT=1\nAIRFLOW_PORT=1\n")
        assert examine(tmp_path / "env")["MLflow"]["state"] == "ok"


def test_the_clock_of_another_program_does_not_count(tmp_path: Path, mlflow: int) -> None:
    (tmp_path / "env").write_text(f"MINIO_PORT={mlflow}\nMLFLOW_PORT=1\nAIRFLOW_PORT=1\n")
    found = examine(tmp_path / "env")
    assert found["object store"]["state"] == "failure"
    assert "clock" not in found


def test_an_invalid_port_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.example", tmp_path / "env")
    with (tmp_path / "env").open("a") as file:
        file.write("AIRFLOW_PORT=80800\nMLFLOW_PORT=5000a\n")
    settings = examine(tmp_path / "env")["settings"]
    assert (settings["state"], settings["found"]) == ("failure", "AIRFLOW_PORT 80800, MLFLOW_PORT 5000a")


def test_settings_in_another_encoding_are_one_line_of_error(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes("# 비밀번호".encode("cp949"))
    done = CliRunner().invoke(app, ["doctor", "--env-file", str(tmp_path / "env")])
    assert done.exit_code == 1
    assert "expected UTF-8 throughout" in done.stderr


def test_the_command_shows_a_table_for_people(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--env-file", str(tmp_path / "nowhere")], env={"COLUMNS": "200"})
    assert "make up" in done.stdout
    assert "memory" in done.stdout
