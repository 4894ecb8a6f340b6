"""Attacks on MLflow's API, on a real server with the product's authorization function: each is refused."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.servers import MlflowServer

EVERYBODY = ("admin", "trainer")

CHOSEN = (
    "s3://datasets/stolen",
    "s3://mlflow/1",
    "file:///etc/passwd",
    "/etc/passwd",
    "mlflow-artifacts:/1/other",
    "http://169.254.169.254/latest",
)

SOURCES = (
    *CHOSEN[:4],
    "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts/1",
    "mlflow-artifacts://elsewhere:5000/1",
    "mlflow-artifacts:/1/../../datasets",
    "mlflow-artifacts:/1/%2e%2e/%252e%252e/datasets",
    "S3://datasets/clean",
    "dbfs:/x",
    "gs://bucket/x",
)

CLOSED = (
    ("POST", "/api/2.0/mlflow/webhooks"),
    ("POST", "/ajax-api/2.0/mlflow/webhooks"),
    ("POST", "/ajax-api/3.0/jobs/"),
    ("GET", "/ajax-api/3.0/jobs/1"),
    ("POST", "/ajax-api/3.0/jobs/search"),
    ("GET", "/ajax-api/3.0/mlflow/jobs/1"),
    ("GET", "/ajax-api/3.0/mlflow/assistant/config"),
    ("PUT", "/ajax-api/3.0/mlflow/assistant/config"),
    ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
    ("GET", "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=x"),
    ("POST", "/api/3.0/mlflow/gateway/secrets/create"),
    ("POST", "/api/3.0/mlflow/gateway/endpoints/create"),
    ("POST", "/gateway/mlflow/v1/chat/completions"),
    ("POST", "/api/3.0/mlflow/scorers/register"),
    ("POST", "/ajax-api/3.0/mlflow/scorer/invoke"),
    ("POST", "/ajax-api/3.0/mlflow/genai/evaluate/invoke"),
    ("POST", "/ajax-api/3.0/mlflow/issues/invoke"),
    ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run"),
    ("POST", "/api/3.0/mlflow/prompt-optimization/jobs"),
    ("POST", "/api/3.0/mlflow/mcp-servers"),
    ("POST", "/api/3.0/mlflow/workspaces"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/1/x"),
    ("GET", "/api/2.0/mlflow-artifacts/presigned/1/x"),
    ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url"),
)

PASSWORD = secrets.token_hex(16)

GUESSES = 60


@pytest.fixture(scope="module")
def persons(mlflow_server: MlflowServer) -> Mapping[str, tuple[str, str]]:
    """People by role; `stranger` has none."""
    admin = mlflow_server.auth("admin")
    roles = ask(mlflow_server, admin, "GET", "/api/3.0/mlflow/roles/list?workspace=default").json()["roles"]
    ids = {role["name"]: role["id"] for role in roles}
    for name in ("viewer", "operator", "stranger"):
        body: dict[str, Any] = {"username": name, "password": PASSWORD}
        ask(mlflow_server, admin, "POST", "/api/2.0/mlflow/users/create", json=body).raise_for_status()
        if name in ids:
            body = {"username": name, "role_id": ids[name]}
            ask(mlflow_server, admin, "POST", "/api/3.0/mlflow/roles/assign", json=body).raise_for_status()
    return {name: (name, PASSWORD) for name in ("viewer", "operator", "stranger")} | {
        name: mlflow_server.auth(name) for name in ("admin", "trainer", "serving")
    }


@pytest.fixture(scope="module")
def model(mlflow_server: MlflowServer) -> str:
    """A model that `trainer` registers after every right was granted, with one version and its file."""
    login, name = mlflow_server.auth("trainer"), f"model-{secrets.token_hex(4)}"

    def post(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = ask(mlflow_server, login, "POST", f"/api/2.0/mlflow/{path}", json=dict(body)).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    experiment = post("experiments/create", {"name": name})["experiment_id"]
    run = post("runs/create", {"experiment_id": experiment})["run"]["info"]
    path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run['run_id']}/artifacts/model.onnx"
    ask(mlflow_server, login, "PUT", path, content=b"file").raise_for_status()
    post("registered-models/create", {"name": name})
    post("model-versions/create", {"name": name, "source": run["artifact_uri"], "run_id": run["run_id"]})
    return name


def ask(server: MlflowServer, login: tuple[str, str] | None, method: str, path: str, **options: Any) -> httpx.Response:
    return httpx.request(method, server.url + path, auth=login, timeout=60, **options)


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize("place", CHOSEN)
def test_nobody_chooses_where_an_experiment_lies(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]], user: str, place: str
) -> None:
    for api, field in (("api/2.0", "artifact_location"), ("ajax-api/2.0", "artifactLocation")):
        body = {"name": secrets.token_hex(8), field: place}
        answer = ask(mlflow_server, persons[user], "POST", f"/{api}/mlflow/experiments/create", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_body_that_is_encoded_twice_is_read_as_mlflow_reads_it(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]]
) -> None:
    body = '"{\\"name\\": \\"twice\\", \\"artifact_location\\": \\"s3://datasets\\"}"'
    path = "/api/2.0/mlflow/experiments/create"
    answer = ask(mlflow_server, persons["trainer"], "POST", path, content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize("source", SOURCES)
def test_no_version_is_made_of_a_foreign_file(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]], model: str, user: str, source: str
) -> None:
    for api in ("api/2.0", "ajax-api/2.0"):
        body = {"name": model, "source": source}
        answer = ask(mlflow_server, persons[user], "POST", f"/{api}/mlflow/model-versions/create", json=body)
        assert answer.status_code == 400, answer.text


def test_no_tag_moves_the_files_of_a_trace(mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]]) -> None:
    for tags in ({"mlflow.artifactLocation": "s3://datasets"}, [{"key": "mlflow.artifactLocation", "value": "s3://x"}]):
        body = {"trace": {"trace_info": {"trace_id": "tr-1", "tags": tags}}}
        assert ask(mlflow_server, persons["admin"], "POST", "/api/3.0/mlflow/traces", json=body).status_code == 400


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_unused_parts_of_mlflow_are_closed_to_everybody(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]], method: str, path: str
) -> None:
    assert ask(mlflow_server, None, method, path).status_code in {401, 403}
    for user in EVERYBODY:
        assert ask(mlflow_server, persons[user], method, path).status_code in {403, 404}


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%252e%252e/%252e%252e/datasets/x",
        "1/..%2f..%2f..%2fdatasets/x",
        "//datasets/x",
    ],
)
def test_no_artifact_path_leaves_its_experiment(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]], path: str
) -> None:
    for api in ("api", "ajax-api"):
        url = httpx.URL(f"{mlflow_server.url}/{api}/2.0/mlflow-artifacts/artifacts/{path}")
        for user in EVERYBODY:
            for method in ("GET", "PUT", "DELETE"):
                answer = httpx.request(method, url, auth=persons[user], timeout=60)
                assert 300 <= answer.status_code < 500, (method, user, answer.text)


def test_a_run_gives_away_no_file_outside_of_it(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]], model: str
) -> None:
    found = ask(
        mlflow_server, persons["trainer"], "GET", f"/api/2.0/mlflow/model-versions/search?filter=name='{model}'"
    )
    run_id = found.json()["model_versions"][0]["run_id"]
    for path in ("../../../../../../etc/passwd", "/etc/passwd", "%2e%2e/x"):
        for address in (f"/get-artifact?run_id={run_id}", f"/model-versions/get-artifact?name={model}&version=1"):
            answer = ask(mlflow_server, persons["admin"], "GET", f"{address}&path={path}")
            assert answer.status_code in {400, 404}, answer.text
        answer = ask(
            mlflow_server, persons["trainer"], "GET", f"/api/2.0/mlflow/artifacts/list?run_id={run_id}&path={path}"
        )
        assert answer.status_code == 400, answer.text


def test_a_login_is_needed_and_only_the_own_host_and_pages_are_answered(mlflow_server: MlflowServer) -> None:
    path, login = "/api/2.0/mlflow/experiments/get?experiment_id=0", mlflow_server.auth("trainer")
    assert ask(mlflow_server, None, "GET", path).status_code == 401
    assert ask(mlflow_server, login, "GET", path).status_code == 200
    assert ask(mlflow_server, login, "GET", path, headers={"Host": "evil.example"}).status_code == 403
    body, origin = {"name": "from-another-page"}, {"Origin": "http://evil.example"}
    create = "/api/2.0/mlflow/experiments/create"
    assert ask(mlflow_server, login, "POST", create, json=body, headers=origin).status_code == 403


def test_the_replicas_read_a_model_that_was_registered_later(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]], model: str
) -> None:
    login = persons["serving"]
    listed = ask(mlflow_server, login, "GET", "/api/2.0/mlflow/registered-models/search?max_results=1000").json()
    assert model in {found["name"] for found in listed["registered_models"]}
    version = f"name={model}&version=1"
    assert ask(mlflow_server, login, "GET", f"/api/2.0/mlflow/model-versions/get?{version}").status_code == 200
    file = ask(mlflow_server, login, "GET", f"/model-versions/get-artifact?{version}&path=model.onnx")
    assert (file.status_code, file.content) == (200, b"file")


def test_the_replicas_read_nothing_else_and_write_nothing(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]], model: str
) -> None:
    login = persons["serving"]
    version = ask(mlflow_server, login, "GET", f"/api/2.0/mlflow/model-versions/get?name={model}&version=1").json()
    run_id = version["model_version"].get("run_id") or "none"
    for path in (f"runs/get?run_id={run_id}", f"experiments/get-by-name?experiment_name={model}"):
        assert ask(mlflow_server, login, "GET", f"/api/2.0/mlflow/{path}").status_code in {403, 404}
    for path in ("experiments/create", "registered-models/create", "runs/search", "model-versions/set-tag"):
        answer = ask(mlflow_server, login, "POST", f"/api/2.0/mlflow/{path}", json={"name": "x"})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("user", "reads", "logs", "tags"),
    [
        ("stranger", False, False, False),
        ("viewer", True, False, False),
        ("operator", True, True, False),
        ("trainer", True, True, True),
        ("admin", True, True, True),
    ],
)
def test_a_role_reads_logs_and_decides_what_its_row_says(
    mlflow_server: MlflowServer,
    persons: Mapping[str, tuple[str, str]],
    model: str,
    *,
    user: str,
    reads: bool,
    logs: bool,
    tags: bool,
) -> None:
    login = persons[user]
    api = "/api/2.0/mlflow"
    found = ask(mlflow_server, persons["trainer"], "GET", f"{api}/experiments/get-by-name?experiment_name={model}")
    experiment = found.json()["experiment"]["experiment_id"]
    assert ask(mlflow_server, login, "GET", f"{api}/registered-models/get?name={model}").is_success == reads
    search = ask(mlflow_server, login, "POST", f"{api}/runs/search", json={"experiment_ids": [experiment]})
    assert bool(search.is_success and search.json().get("runs")) == reads
    run = ask(mlflow_server, login, "POST", f"{api}/runs/create", json={"experiment_id": experiment})
    assert run.is_success == logs
    made = ask(mlflow_server, login, "POST", f"{api}/experiments/create", json={"name": secrets.token_hex(8)})
    assert made.is_success == logs
    body = {"name": model, "version": "1", "key": "gate", "value": "passed"}
    assert ask(mlflow_server, login, "POST", f"{api}/model-versions/set-tag", json=body).is_success == tags
    alias = {"name": model, "alias": "champion", "version": "1"}
    assert ask(mlflow_server, login, "POST", f"{api}/registered-models/alias", json=alias).is_success == tags


def test_a_person_changes_the_own_password_and_no_other(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]]
) -> None:
    path, other = "/api/2.0/mlflow/users/update-password", secrets.token_hex(16)
    body = {"username": "trainer", "password": other, "current_password": PASSWORD}
    assert ask(mlflow_server, persons["viewer"], "PATCH", path, json=body).status_code == 403
    for old, new in ((PASSWORD, other), (other, PASSWORD)):
        body = {"username": "viewer", "password": new, "current_password": old}
        assert ask(mlflow_server, ("viewer", old), "PATCH", path, json=body).status_code == 200


def test_who_guesses_a_password_is_slowed_down_and_hinders_nobody_who_has_signed_in(
    mlflow_server: MlflowServer, persons: Mapping[str, tuple[str, str]]
) -> None:
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(mlflow_server, persons["operator"], "GET", path).status_code == 200

    def guess(number: int) -> int:
        return ask(mlflow_server, ("operator", f"guess {number}"), "GET", path).status_code

    with ThreadPoolExecutor(GUESSES) as pool:
        found = list(pool.map(guess, range(GUESSES)))
    assert set(found) == {401, 429}
    for name in ("operator", "viewer", "trainer"):
        assert ask(mlflow_server, persons[name], "GET", path).status_code == 200, name
