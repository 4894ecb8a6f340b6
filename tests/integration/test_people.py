"""People in a real Airflow and a real MLflow: each cell of the table of who may do what, and single sign-on."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from mlops.accounts import ROLES, open_accounts
from mlops.host import Administration
from mlops.people import People
from tests.integration.airflow_server import AirflowServer, run_airflow_server
from tests.integration.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, run_oidc_provider
from tests.integration.people_cells import AIRFLOW_CELLS, MLFLOW_CELLS, PASSWORD, RUN
from tests.servers import MlflowServer, PostgresServer
from tests.waiting import wait_until

type SignOn = Callable[..., httpx.Client]

DOOR = "https://airflow.ml.example:8443"
"""Where browsers reach Airflow: behind a proxy that does TLS."""


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with run_oidc_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, airflow_template: str, provider: OidcProvider
) -> Iterator[AirflowServer]:
    postgres.create_database("airflow_people", template=airflow_template)
    settings = {
        "OIDC_ISSUER": provider.issuer,
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "OIDC_ROLES": "readers=viewer, runners=operator, chiefs=admin",
        "AIRFLOW__API__BASE_URL": DOOR,
        "TLS": "on",
    }
    with run_airflow_server(tmp_path_factory.mktemp("airflow"), postgres, "airflow_people", settings) as server:
        yield server


@pytest.fixture(scope="module")
def people(airflow: AirflowServer, mlflow_server: MlflowServer) -> People:
    return People(
        open_accounts(Administration(airflow.url, airflow.admin, mlflow_server.url, mlflow_server.auth("admin")))
    )


@pytest.fixture(scope="module")
def tokens(airflow: AirflowServer, people: People) -> dict[str, str]:
    """A token of Airflow for a person of each role, made as `mlops users add` does."""
    for role in ROLES:
        assert people.add(f"a-{role}", role, PASSWORD)
    return {role: sign_in(airflow, f"a-{role}", PASSWORD) for role in ROLES}


@pytest.fixture(scope="module")
def names(mlflow_server: MlflowServer) -> dict[str, str]:
    """An experiment, a run and a model with a version, made by the loop's own user."""
    login, model = mlflow_server.auth("trainer"), f"people-{secrets.token_hex(4)}"

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{mlflow_server.url}/api/2.0/mlflow/{path}", json=body, auth=login, timeout=60)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    experiment = post("experiments/create", {"name": model})["experiment_id"]
    run = post("runs/create", {"experiment_id": experiment})["run"]["info"]
    post("registered-models/create", {"name": model})
    post("model-versions/create", {"name": model, "source": run["artifact_uri"], "run_id": run["run_id"]})
    return {"experiment": experiment, "run": run["run_id"], "model": model}


def sign_in(airflow: AirflowServer, name: str, password: str) -> str:
    answer = httpx.post(f"{airflow.url}/auth/token", json={"username": name, "password": password}, timeout=60)
    return str(answer.raise_for_status().json()["access_token"])


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
@pytest.mark.parametrize("cell", AIRFLOW_CELLS)
def test_a_cell_of_the_table_of_airflow(airflow: AirflowServer, tokens: dict[str, str], cell: str, role: str) -> None:
    method, path, body, who, allowed, refused = AIRFLOW_CELLS[cell]
    url = airflow.url + (path if path.startswith("/auth") else f"/api/v2{path}")
    headers = {"Authorization": f"Bearer {tokens[role]}"} if role in tokens else {}
    answer = httpx.request(method, url, json=body, headers=headers, timeout=60)
    expected = 401 if role == "nobody" else allowed if role in who.split() else refused
    assert answer.status_code == expected, answer.text


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
@pytest.mark.parametrize("cell", MLFLOW_CELLS)
def test_a_cell_of_the_table_of_mlflow(
    mlflow_server: MlflowServer, tokens: dict[str, str], names: dict[str, str], cell: str, role: str
) -> None:
    method, path, body, who = MLFLOW_CELLS[cell]
    login = (f"a-{role}", PASSWORD) if role in tokens else None
    answer = httpx.request(
        method,
        f"{mlflow_server.url}/api/{_fill(path, names)}",
        json=_fill(body, names),
        auth=login,
        timeout=60,
    )
    expected = 401 if role == "nobody" else 200 if role in who.split() else 403
    assert answer.status_code == expected, answer.text


def test_a_person_is_listed_and_removed_in_both(
    airflow: AirflowServer, mlflow_server: MlflowServer, people: People
) -> None:
    people.add("bob", "viewer", PASSWORD)
    token = sign_in(airflow, "bob", PASSWORD)
    people.add("bob", "operator", "another-long-password")
    assert {"Airflow": "operator", "MLflow": "operator"} in [p.roles for p in people.list_all() if p.name == "bob"]
    people.set_password("bob", f"{PASSWORD}-new")
    assert sign_in(airflow, "bob", f"{PASSWORD}-new")
    whoami = f"{mlflow_server.url}/api/2.0/mlflow/users/current"
    assert httpx.get(whoami, auth=("bob", f"{PASSWORD}-new"), timeout=60).status_code == 200
    assert httpx.get(whoami, auth=("bob", PASSWORD), timeout=60).status_code == 401
    people.remove("bob")
    assert httpx.get(whoami, auth=("bob", f"{PASSWORD}-new"), timeout=60).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{airflow.url}/api/v2/dags", headers=headers, timeout=60).status_code == 403
    assert "bob" not in [person.name for person in people.list_all()]


class Proxy(httpx.BaseTransport):
    """Passes on what comes to DOOR as the gateway does, with the headers that a client may write as it likes."""

    def __init__(self, url: str) -> None:
        self._url, self._server = httpx.URL(url), httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        place = request.url.netloc.decode()
        forwarded = {"X-Forwarded-Host": place, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
        of_client = {"X-Forwarded-Port": "9", "X-Forwarded-Prefix": "/evil"}
        url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        headers = {**request.headers, **forwarded, **of_client}
        return self._server.handle_request(httpx.Request(request.method, url, headers=headers, stream=request.stream))

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def sign_on(airflow: AirflowServer, provider: OidcProvider) -> Iterator[SignOn]:
    """Signs the provider's person on in a new browser, which is closed in the end."""
    with ExitStack() as browsers:

        def sign_on(*, tampers: bool = False) -> httpx.Client:
            browser = browsers.enter_context(httpx.Client(base_url=DOOR, transport=Proxy(airflow.url), timeout=60))
            return go_round(browser, provider, tampers=tampers)

        yield sign_on


def go_round(browser: httpx.Client, provider: OidcProvider, *, tampers: bool) -> httpx.Client:
    """Goes the way of a browser: login page, provider, and back; with `tampers` the state is another."""
    to_provider = browser.get("/auth/login/oidc").headers["Location"]
    assert to_provider.startswith(f"{provider.issuer}/authorization")
    back = httpx.get(to_provider).headers["Location"]
    assert back.startswith(f"{DOOR}/auth/oauth-authorized/oidc?")
    if tampers:
        back = back.replace("state=", "state=x")
    answer = browser.get(back)
    for _ in range(5):
        if answer.is_redirect and answer.headers["Location"].startswith(("/", str(browser.base_url))):
            answer = browser.get(answer.headers["Location"])
    return browser


def ask(browser: httpx.Client, method: str = "GET", path: str = "/dags", body: object = None) -> int:
    """The answer to a page's request, which carries the token of the cookie."""
    token = browser.cookies.get("_token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return browser.request(method, f"/api/v2{path}", json=body, headers=headers).status_code


@pytest.mark.parametrize(
    ("group", "may_trigger", "may_see_variables"), [("readers", 403, 403), ("runners", 200, 403), ("chiefs", 200, 200)]
)
def test_a_group_of_the_provider_becomes_a_role(
    provider: OidcProvider, sign_on: SignOn, group: str, may_trigger: int, may_see_variables: int
) -> None:
    provider.person = {"preferred_username": f"dora-{group}", "groups": ["others", group]}
    browser = sign_on()
    assert ask(browser) == 200
    assert ask(browser, "POST", RUN, {"logical_date": None}) == may_trigger
    assert ask(browser, "GET", "/variables") == may_see_variables


@pytest.mark.parametrize(
    "person",
    [
        {"preferred_username": "eve", "groups": ["others"]},
        {"preferred_username": "eve", "groups": []},
        {"preferred_username": "eve"},
        {"preferred_username": "eve", "groups": {"chiefs": True}},
        {"preferred_username": "", "groups": ["chiefs"]},
        {"preferred_username": ["eve"], "groups": ["chiefs"]},
        {"groups": ["chiefs"]},
    ],
    ids=["unknown group", "no group", "no claim", "odd claim", "empty name", "odd name", "no name"],
)
def test_a_person_without_a_mapped_group_or_a_name_gets_nothing(
    provider: OidcProvider, sign_on: SignOn, person: dict[str, Any]
) -> None:
    provider.person = person
    assert ask(sign_on()) == 401


@pytest.mark.parametrize(
    "lies",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "another-client"},
        {"nonce": "replayed"},
        {"exp": 1},
        "another key",
        "another state",
    ],
    ids=str,
)
def test_a_token_that_is_not_the_issuers_answer_gets_nothing(
    provider: OidcProvider, sign_on: SignOn, lies: dict[str, Any] | str
) -> None:
    provider.person = {"preferred_username": "dora", "groups": ["chiefs"]}
    provider.lies = lies if isinstance(lies, dict) else {}
    provider.signs_with_other_key = lies == "another key"
    try:
        assert ask(sign_on(tampers=lies == "another state")) == 401
    finally:
        provider.lies, provider.signs_with_other_key = {}, False


def test_a_person_who_lost_the_group_loses_the_session(provider: OidcProvider, sign_on: SignOn) -> None:
    provider.person = {"preferred_username": "fred", "groups": ["chiefs"]}
    before = sign_on()
    assert ask(before, "GET", "/variables") == 200
    provider.person = {"preferred_username": "fred", "groups": []}
    assert ask(sign_on()) == 401
    wait_until(lambda: ask(before, "GET", "/variables") == 403, 120, "the cached roles end")


def test_a_person_there_named_admin_is_not_the_admin_here(
    provider: OidcProvider, sign_on: SignOn, people: People
) -> None:
    provider.person = {"preferred_username": "admin", "groups": ["readers"]}
    browser = sign_on()
    assert ask(browser) == 200
    assert ask(browser, "GET", "/variables") == 403
    roles = {person.name: person.roles["Airflow"] for person in people.list_all()}
    assert (roles["admin"], roles["oidc_admin"]) == ("admin", "viewer")


def _fill(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, names) for each in value]
    return value.format(**names) if isinstance(value, str) else value
