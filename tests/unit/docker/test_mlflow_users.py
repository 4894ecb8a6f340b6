from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "docker" / "mlflow" / "users.py"
PASSWORDS = ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_TRAINER_PASSWORD", "MLFLOW_SERVING_PASSWORD")


class Mlflow(ThreadingHTTPServer):
    """Closes the first connections, as a starting server does, then answers all requests with one status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.unanswered = 3
        self.status = 200
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Mlflow

    def do_GET(self) -> None:
        if self.server.unanswered:
            self.server.unanswered -= 1
            return
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b'{"role": {"id": 1}}')

    do_POST = do_GET  # noqa: N815  named by the standard library

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with Mlflow() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.fixture
def users(mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FILE.parent))
    spec = importlib.util.spec_from_file_location("users", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{mlflow.server_address[1]}")
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_USERNAME", "admin")
    for name in PASSWORDS:
        monkeypatch.setenv(name, "a-password")
    return module


def test_a_request_to_a_slow_server_is_retried(users: ModuleType, mlflow: Mlflow) -> None:
    users.main()
    assert mlflow.unanswered == 0
    assert mlflow.asked[0].endswith("users/get?username=admin")


def test_the_error_names_the_refused_admin_and_the_status(users: ModuleType, mlflow: Mlflow) -> None:
    mlflow.status = 401
    with pytest.raises(SystemExit, match=r"MLflow user admin: .* found status 401"):
        users.main()


def test_a_failing_server_is_not_reported_as_a_wrong_password(users: ModuleType, mlflow: Mlflow) -> None:
    mlflow.status = 500
    with pytest.raises(SystemExit, match=r"expected status 200, found 500; its log above says why"):
        users.main()


def test_a_server_that_never_answers_ends_the_wait(
    users: ModuleType, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.unanswered = 1_000
    monkeypatch.setattr(users, "START_SECONDS", 1)
    with pytest.raises(SystemExit, match=r"expected an answer to .* within 1 s, found none"):
        users.main()


def test_an_ended_server_ends_the_wait(users: ModuleType, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.unanswered = 1_000
    monkeypatch.setattr(users, "MLFLOW", users.MLFLOW + 1)
    with pytest.raises(SystemExit, match="expected it to come up, found that it ended"):
        users.main()
