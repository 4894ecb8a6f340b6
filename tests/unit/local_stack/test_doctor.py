from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from local_stack import doctor
from local_stack.commands import app

ROOT = Path(__file__).parents[3]


class Mlflow(BaseHTTPRequestHandler):
    """Says that it is well, at a time that is ten minutes ago."""

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", formatdate(time.time() - 600, usegmt=True))
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mlflow() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mlflow) as server:
        threading.Thread(target=server.serve_forever).start()
        yield int(server.server_address[1])
        server.shutdown()


def test_each_service_is_told_from_a_stranger_and_from_nobody(mlflow: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
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


def test_the_command_says_what_is_wrong_and_ends_with_1(tmp_path: Path, mlflow: int) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(f"MLFLOW_PORT={mlflow}\nMINIO_PORT=1\n")
    done = CliRunner().invoke(app, ["doctor", "--env-file", str(env_file), "--json"])
    states = {finding["subject"]: finding["state"] for finding in json.loads(done.stdout)}
    assert states["settings"] == "failure"
    assert states["MLflow"] == "ok"
    assert states["object store"] == "failure"
    assert states["clock"] == "failure"
    assert done.exit_code == 1


def test_the_command_shows_a_table_for_people(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--env-file", str(tmp_path / "nowhere")], env={"COLUMNS": "200"})
    assert "make up" in done.stdout
    assert "memory" in done.stdout
