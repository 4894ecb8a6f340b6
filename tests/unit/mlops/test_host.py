from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import override

import httpx
import pytest
from psycopg2.extensions import parse_dsn

from ml_code.errors import SettingsError
from mlops.host import find_env_file, keep_loopback_direct, load_host_settings
from serving.fleet.access import read_access

ENV_FILE = """\
MLFLOW_PORT=5001
MLFLOW_TRAINER_PASSWORD=one
MINIO_ROOT_USER=two
MINIO_ROOT_PASSWORD=three
WAREHOUSE_DB_PASSWORD=four
S3_ENDPOINT_URL=http://minio:9000
"""


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("MLOPS_"):
            monkeypatch.delenv(name)


def test_a_password_with_marks_is_a_part_of_the_address(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV_FILE.replace("DB_PASSWORD=four", "DB_PASSWORD='a@b/c%'"))
    dsn = load_host_settings(tmp_path / ".env").warehouse_dsn
    assert dsn is not None
    parts = parse_dsn(dsn.get_secret_value())
    assert (parts["password"], parts["host"]) == ("a@b/c%", "127.0.0.1")


def test_the_env_file_of_the_stack_means_this_machine(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV_FILE)
    settings = load_host_settings(tmp_path / ".env")
    assert settings.mlflow_url == "http://127.0.0.1:5001"
    assert settings.mlflow_username == "trainer"
    assert settings.s3_endpoint_url == "http://127.0.0.1:9000"
    assert settings.warehouse_dsn is not None
    assert settings.warehouse_dsn.get_secret_value() == "postgresql://warehouse:four@127.0.0.1:5432/warehouse"


def test_the_command_uses_the_tasks_key_of_the_store_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV_FILE)
    assert load_host_settings(tmp_path / ".env").s3_access_key == "two"
    (tmp_path / ".env").write_text(f"{ENV_FILE}S3_TASKS_PASSWORD=five\n")
    settings = load_host_settings(tmp_path / ".env")
    assert (settings.s3_access_key, settings.s3_secret_key.get_secret_value()) == ("tasks", "five")


def test_a_running_stack_without_docker_comes_first(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    assert find_env_file(tmp_path) == tmp_path / ".env"
    (tmp_path / ".local" / "supervisord.pid").write_text(f"{os.getpid()}\n")
    assert find_env_file(tmp_path) == tmp_path / ".local" / "env"


@pytest.mark.parametrize("found", ["4194305", ""], ids=["power cut", "empty"])
def test_a_stopped_stack_without_docker_is_ignored(tmp_path: Path, found: str) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "supervisord.pid").write_text(found)
    assert find_env_file(tmp_path) == tmp_path / ".env"


@pytest.mark.parametrize("exceptions", ["", "example.com", "*"])
def test_requests_to_this_machine_use_no_proxy(monkeypatch: pytest.MonkeyPatch, exceptions: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, exceptions)
    keep_loopback_direct()
    assert httpx.get(f"{start_server()}/", timeout=10).text == "found"


def start_server() -> str:
    """A server that answers one request."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"found")

        @override
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=serve_once, args=(server,), daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def serve_once(server: HTTPServer) -> None:
    with server:
        server.handle_request()


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("# 비밀번호\n".encode("cp949") + ENV_FILE.encode())
    with pytest.raises(SettingsError, match="expected UTF-8 throughout"):
        load_host_settings(tmp_path / ".env")


def test_an_object_store_elsewhere_keeps_its_address(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV_FILE.replace("http://minio:9000", "https://s3.example.com"))
    assert load_host_settings(tmp_path / ".env").s3_endpoint_url == "https://s3.example.com"


def test_the_error_without_environment_and_file_names_both_ways(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"make env.*or set the MLOPS_\* variables"):
        load_host_settings(tmp_path / ".env")


def test_an_environment_that_names_a_server_goes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(ENV_FILE)
    monkeypatch.setenv("MLOPS_MLFLOW_URL", "http://mlflow:5000")
    with pytest.raises(SettingsError, match="MLOPS_MLFLOW_USERNAME"):
        load_host_settings(tmp_path / ".env")


def test_a_misspelt_variable_is_refused_before_the_file_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLOPS_MLFLOW_ULR", "http://mlflow:5000")
    with pytest.raises(SettingsError, match="found the unknown names MLOPS_MLFLOW_ULR"):
        load_host_settings(tmp_path / ".env")


def test_a_value_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINIO_ROOT_USER=two")
    with pytest.raises(SettingsError, match="MLFLOW_TRAINER_PASSWORD, MINIO_ROOT_PASSWORD"):
        load_host_settings(tmp_path / ".env")


def test_the_first_token_of_the_settings_opens_the_gateway(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{ENV_FILE}GATEWAY_TOKENS=ann:{'a' * 16},bob:{'b' * 16}\n")
    settings = load_host_settings(tmp_path / ".env")
    assert read_access(settings).headers == {"Authorization": f"Bearer {'a' * 16}"}
    assert settings.gateway_url == "http://127.0.0.1:8000"


def test_a_token_of_the_gateways_file_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens").write_text(f"# of the team\nann:{'c' * 16}\n")
    monkeypatch.setattr("mlops.host.TOKENS", tmp_path / "tokens")
    (tmp_path / ".env").write_text(ENV_FILE)
    assert read_access(load_host_settings(tmp_path / ".env")).token == "c" * 16


def test_without_a_token_none_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.host.TOKENS", tmp_path / "tokens")
    (tmp_path / ".env").write_text(ENV_FILE)
    assert read_access(load_host_settings(tmp_path / ".env")).headers == {}


def test_a_gateway_with_tls_is_asked_by_the_name_of_its_certificate(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{ENV_FILE}TLS=on\nPUBLIC_HOST=ml.example\nGATEWAY_PORT=443\n")
    assert load_host_settings(tmp_path / ".env").gateway_url == "https://ml.example:443"
