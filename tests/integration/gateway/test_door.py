"""Requests that the gateway passes on, refuses, or answers itself."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.containers import Fleet, wait_until

JSON = {"Content-Type": "application/json"}
BINARY = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "2"}


def is_error_body(answer: httpx.Response) -> bool:
    body = answer.json()
    is_json = answer.headers["Content-Type"] == "application/json"
    return is_json and set(body) == {"error", "detail", "request_id"} and bool(body["error"]) and body["detail"] == []


@pytest.mark.parametrize("path", ["/predict", "/predict?probabilities=true", "/models/iris/predict"])
def test_a_prediction_reaches_a_replica_at_its_own_address(gateway: httpx.Client, path: str) -> None:
    assert gateway.post(path, json=[[1]]).json()["path"] == path


@pytest.mark.parametrize("path", ["/v2/models/iris/infer", "/v2/models/iris/versions/3/infer"])
@pytest.mark.parametrize("headers", [JSON, {}, BINARY], ids=["as JSON", "as nothing", "with bytes"])
def test_a_tensor_reaches_a_replica_at_its_own_address(
    gateway: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    received = gateway.post(path, content=b"{}", headers=headers).json()
    length = received["headers"].get("inference-header-content-length")
    assert (received["path"], length) == (path, headers.get("Inference-Header-Content-Length"))


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/iris", "/v2/models/iris/versions/3/ready"],
)
def test_the_inference_protocol_is_let_through(gateway: httpx.Client, path: str) -> None:
    assert gateway.get(path).json()["path"] == path


def test_labels_reach_the_stable_pool_without_a_name_that_a_client_made_up(gateway: httpx.Client) -> None:
    received = gateway.post("/feedback", json={"label": 1}, headers={"X-Token-Name": "forged"}).json()
    assert (received["path"], received["headers"]["x-pool"]) == ("/feedback", "stable")
    assert "x-token-name" not in received["headers"]


@pytest.mark.parametrize("path", ["/models", "/rollouts", "/openapi.json", "/docs", "/docs/assets/swagger-ui.css"])
def test_a_page_of_the_replicas_is_shown(gateway: httpx.Client, path: str) -> None:
    assert gateway.get(path).json()["path"] == path


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/readyz", "/livez", "/schema.json", "/docs.json", "/static_content/index.css", "/nope", "/.env"),
        *("/inference.GRPCInferenceService/ModelInfer", "/_grpc_error/503", "/_grpc_stranger"),
        *("/v2/metrics", "/v2/models", "/v2/models/iris/versions", "/v2/models/iris/config"),
    ],
)
def test_a_management_path_is_hidden(gateway: httpx.Client, path: str) -> None:
    answer = gateway.get(path)
    assert answer.status_code == 404
    assert is_error_body(answer)


@pytest.mark.parametrize(
    "target",
    [
        *("/predict/../metrics", "/predict%2f..%2fmetrics", "//metrics", "/docs/../metrics", "/models/../metrics"),
        *("/models%0a", "/status/airflow%0a", "/v2/health/live%0a", "/docs%0a"),
    ],
)
def test_no_spelling_of_an_address_reaches_a_hidden_path(gateway: httpx.Client, target: str) -> None:
    assert read_raw(gateway, "GET", target) == 404


def test_a_replica_is_asked_what_was_matched_and_not_what_was_sent(gateway: httpx.Client) -> None:
    connection = http.client.HTTPConnection(gateway.base_url.host, gateway.base_url.port)
    connection.request("POST", "/metrics/../predict", body="[[1]]", headers=JSON)
    assert b'"path": "/predict"' in connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/octet-stream", ""],
)
@pytest.mark.parametrize("path", ["/predict", "/models/iris/predict"])
def test_a_body_that_is_not_json_is_refused(gateway: httpx.Client, path: str, content_type: str) -> None:
    answer = gateway.post(path, content=b"x", headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert is_error_body(answer)


def test_json_with_a_charset_is_json(gateway: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert gateway.post("/predict", content=b"[[1]]", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST"),
        ("GET", "/feedback", "POST"),
        ("PUT", "/models/iris/predict", "POST"),
        ("POST", "/models", "GET, HEAD"),
        ("PUT", "/rollouts", "GET, HEAD"),
        ("GET", "/v2/models/iris/infer", "POST"),
        ("POST", "/v2/models/iris", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/docs", "GET, HEAD"),
        ("POST", "/status/airflow", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(gateway: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = gateway.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert is_error_body(answer)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_one_megabyte_is_refused(gateway: httpx.Client, is_chunked: bool) -> None:
    body = b"[" + b" " * 10_000_000 + b"]"
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    connection = http.client.HTTPConnection(gateway.base_url.host, gateway.base_url.port, timeout=20)
    # The answer may come before the body is sent.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/predict", body=pieces if is_chunked else body, headers=JSON)
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"too large" in answer.read()
    connection.close()


def test_an_address_that_is_too_long_is_refused(gateway: httpx.Client) -> None:
    answer = gateway.get("/" + "a" * 20_000)
    assert answer.status_code == 414
    assert is_error_body(answer)


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
    ids=["no header", "unknown version", "unknown transfer encoding"],
)
def test_what_is_not_http_gets_a_json_error(gateway: httpx.Client, request_head: bytes) -> None:
    with socket.create_connection((gateway.base_url.host, gateway.base_url.port or 80), timeout=10) as connection:
        connection.sendall(request_head)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'{"error":"the request is not valid HTTP"' in answer


def test_too_many_requests_are_refused(full_fleet: Fleet) -> None:
    with httpx.Client(base_url=full_fleet.start_gateway(RATE_LIMIT_PER_SECOND="1")) as client:
        answers = [client.get("/") for _ in range(40)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert is_error_body(refused[0])
    assert refused[0].headers["Retry-After"] == "1"


def test_no_cookie_or_password_of_another_program_reaches_a_replica(gateway: httpx.Client) -> None:
    sent = {"Cookie": "session=secret", "Authorization": "Basic c2VjcmV0", "X-Forwarded-For": "1.2.3.4"}
    received = gateway.post("/predict", json=[[1]], headers=sent).json()["headers"]
    assert "cookie" not in received
    assert "authorization" not in received
    assert received["x-forwarded-for"] != "1.2.3.4"


def test_the_gateways_request_id_is_passed_on_beside_the_clients(gateway: httpx.Client) -> None:
    received = gateway.post("/predict", json=[[1]], headers={"X-Request-Id": "mine"}).json()["headers"]
    assert received["x-client-request-id"] == "mine"
    assert len(received["x-request-id"]) == 32


def test_no_header_says_the_version(gateway: httpx.Client) -> None:
    assert gateway.get("/nope").headers["Server"] == "nginx"


def test_the_start_page_runs_no_script_but_its_own(gateway: httpx.Client) -> None:
    page = gateway.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert page.headers["Content-Type"].startswith("text/html")
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("start.css", "start.js", "models.js", "loop.js", "alerts.js", "figures.js"):
        assert name in page.text
        assert gateway.get(f"/{name}").status_code == 200
    # Links have the scheme by which the page was opened: a proxy may do TLS.
    assert "http://" not in gateway.get("/start.js").text


def test_the_state_of_the_loop_is_empty_before_it_was_first_written(gateway: httpx.Client) -> None:
    answer = gateway.get("/status/loop")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"made_at": None, "models": []}
    assert gateway.post("/status/loop").status_code == 405
    assert gateway.get("/_no_loop").status_code == 404


def test_the_state_of_the_loop_is_the_file_that_the_tasks_write(full_fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "loop.json").write_text('{"made_at":"now","models":[]}')
    (tmp_path / "other.json").write_text("{}")
    tmp_path.chmod(0o755)
    url = full_fleet.start_gateway(loop_folder=tmp_path)
    answer = httpx.get(f"{url}/status/loop")
    assert (answer.headers["Content-Type"], answer.json()["made_at"]) == ("application/json", "now")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert httpx.get(f"{url}/status/other.json").status_code == 404
    assert httpx.get(f"{url}/loop.json").status_code == 404


def test_the_start_page_learns_ports_and_the_share_of_the_canary(gateway: httpx.Client) -> None:
    assert gateway.get("/stack.json").json() == {
        "canary_percent": 20,
        "airflow": {"port": 8080},
        "mlflow": {"port": 5000},
        "minio": {"port": 9001},
    }


@pytest.mark.parametrize("program", ["airflow", "mlflow", "minio"])
def test_a_program_that_is_not_there_is_a_json_error(gateway: httpx.Client, program: str) -> None:
    answer = gateway.get(f"/status/{program}")
    assert answer.status_code == 502
    assert is_error_body(answer)


def test_the_status_of_a_program_is_asked_without_the_browsers_cookies(fleet: Fleet) -> None:
    fleet.start_replica("minio", "store", port=9000)
    with httpx.Client(base_url=fleet.start_gateway()) as client:
        wait_until(lambda: client.get("/status/minio").status_code == 200, "the program is found")
        asked = client.get("/status/minio?x=1", headers={"Cookie": "session=secret"}).json()
    assert asked["path"] == "/minio/health/live"
    assert asked["headers"]["host"] == "minio:9000"
    assert "cookie" not in asked["headers"]


BAD_SETTINGS = [
    ("CANARY_PERCENT", "101"),
    ("CANARY_PERCENT", "-1"),
    ("CANARY_PERCENT", "ten"),
    ("CANARY_PERCENT", ""),
    ("CANARY_PERCENT", "99999999999999999999"),
    ("RATE_LIMIT_PER_SECOND", "0"),
    ("AIRFLOW_PORT", "8080; }"),
    ("GRPC", "yes"),
]


@pytest.fixture(scope="module")
def refused_starts(full_fleet: Fleet) -> dict[tuple[str, str], subprocess.CompletedProcess[str]]:
    """A start with each bad setting, four at once."""
    with ThreadPoolExecutor(4) as pool:
        ended = pool.map(lambda setting: full_fleet.try_gateway(**dict([setting])), BAD_SETTINGS)
    return dict(zip(BAD_SETTINGS, ended, strict=True))


@pytest.mark.parametrize("setting", BAD_SETTINGS, ids="=".join)
def test_a_bad_setting_stops_the_start_with_its_name(
    refused_starts: dict[tuple[str, str], subprocess.CompletedProcess[str]], setting: tuple[str, str]
) -> None:
    stopped = refused_starts[setting]
    assert stopped.returncode != 0
    assert f"FAIL: {setting[0]}: expected" in stopped.stderr


def read_raw(gateway: httpx.Client, method: str, target: str) -> int:
    """Sends an address as it stands: httpx would tidy it up."""
    connection = http.client.HTTPConnection(gateway.base_url.host, gateway.base_url.port, timeout=10)
    connection.request(method, target)
    status = connection.getresponse().status
    connection.close()
    return status
