"""Tokens: who needs one, what counts as one, and how they change without a restart."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.containers import Fleet, docker, read_log, wait_until

ROWS = [[5.1, 3.5, 1.4, 0.2]]
TOKENS = {f"user-{number}": hashlib.sha256(f"{number}".encode()).hexdigest()[:32] for number in range(30)}
"""The same in each process: names of tests hold one."""
TOKEN = TOKENS["user-7"]
ROLLOUT = "r0" * 16
PROBE = "p0" * 16
SETTINGS = {
    "GATEWAY_TOKENS": ",".join(f"{name}:{token}" for name, token in TOKENS.items()),
    "GATEWAY_ROLLOUT_TOKEN": ROLLOUT,
    "GATEWAY_PROBE_TOKEN": PROBE,
    "CANARY_PERCENT": "0",
}
PREDICTIONS = ["/predict", "/models/iris/predict", "/v2/models/iris/infer", "/v2/models/iris/versions/1/infer"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of secrets, which the gateway's user may read."""
    folder = tmp_path_factory.mktemp("secrets")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Fleet]:
    """A replica behind a gateway that demands tokens."""
    fleet = Fleet()
    try:
        fleet.start_replica("serving", "one")
        fleet.start_gateway(folder, **SETTINGS)
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def door(guarded: Fleet) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{docker('port', guarded.gateway, '8000')}") as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        yield client


def bear(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(door: httpx.Client, authorization: str | bytes, path: str = "/predict") -> int:
    return door.post(path, json=ROWS, headers={b"Authorization": authorization}).status_code  # type: ignore[dict-item]


def test_each_token_is_taken(door: httpx.Client) -> None:
    assert {name: ask(door, f"Bearer {token}") for name, token in TOKENS.items()} == dict.fromkeys(TOKENS, 200)
    assert ask(door, f"Bearer {ROLLOUT}") == 200


@pytest.mark.parametrize("path", PREDICTIONS)
def test_a_prediction_without_a_token_is_refused_as_json(door: httpx.Client, path: str) -> None:
    answer = door.post(path, json=ROWS)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="mlops-loop"')
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json()) == {"error", "detail", "request_id"}
    assert door.post(path, json=ROWS, headers=bear(TOKEN)).status_code == 200


def test_labels_need_a_token_which_is_not_that_of_the_rollouts(door: httpx.Client) -> None:
    for headers in ({}, bear(ROLLOUT), bear(PROBE), bear("a" * 32)):
        refused = door.post("/feedback", json=ROWS, headers=headers)
        assert refused.status_code == 401
        assert "labels need one of the GATEWAY_TOKENS" in refused.json()["error"]
    received = door.post("/feedback", json=ROWS, headers=bear(TOKEN) | {"X-Token-Name": "forged"}).json()["headers"]
    assert (received["x-token-name"], "authorization" in received) == ("user-7", False)


@pytest.mark.parametrize("path", PREDICTIONS)
def test_the_token_of_the_monitoring_alone_marks_a_probe(door: httpx.Client, path: str) -> None:
    claims = {"X-Pool-Choice": "probe", "X-Variant": "canary"}
    sent = {
        token: door.post(path, json=ROWS, headers=bear(token) | claims).json()["headers"] for token in (PROBE, TOKEN)
    }
    assert (sent[PROBE]["x-pool"], sent[PROBE]["x-pool-choice"]) == ("stable", "probe")
    assert (sent[TOKEN]["x-pool"], sent[TOKEN]["x-pool-choice"]) == ("canary", "asked")
    assert "x-token-name" not in sent[PROBE]


def test_the_gateways_counters_are_read_from_within_and_not_published(door: httpx.Client, guarded: Fleet) -> None:
    assert door.get("/nginx").status_code == 404
    assert docker("port", guarded.gateway).count("8002") == 0
    counters = docker("exec", guarded.gateway, "curl", "-fsS", "http://127.0.0.1:8002/nginx")
    assert re.search(r"^Active connections: \d+ \nserver accepts handled requests\n \d+ \d+ \d+ ", counters)


def test_what_describes_the_columns_needs_a_token(door: httpx.Client) -> None:
    for path in ("/openapi.json", "/v2/models/iris"):
        assert door.get(path).status_code == 401
        assert door.get(path, headers=bear(TOKEN)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/models", "/rollouts", "/stack.json", "/status/loop", "/healthz", "/v2/health/ready", "/docs"]
)
def test_states_and_versions_need_no_token(door: httpx.Client, path: str) -> None:
    assert door.get(path).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_is_read_in_any_case_and_with_any_blanks(door: httpx.Client, scheme: str) -> None:
    assert ask(door, f"{scheme}{TOKEN}") == 200


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}", f"Bearer{TOKEN}", f"Bearer\t{TOKEN}"),
        *(f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN} {TOKEN}"),
        *(f"Bearer {TOKEN},", f"Bearer '{TOKEN}'", f"Bearer {TOKEN}=", f"Bearer {'a' * 32}", f"Bearer {'a' * 7000}"),
        *(f"Bearer user-7:{TOKEN}", "Bearer user-7", "Bearer *", "Bearer $bearer", "Bearer nobody"),
    ],
)
def test_anything_but_a_token_is_refused(door: httpx.Client, authorization: str) -> None:
    assert ask(door, authorization) in {401, 429}


def test_a_header_that_is_too_long_is_refused(door: httpx.Client) -> None:
    assert ask(door, f"Bearer {'a' * 20_000}") in {400, 494}


def test_a_second_header_and_a_token_in_the_query_are_refused(guarded: Fleet, door: httpx.Client) -> None:
    connection = http.client.HTTPConnection(door.base_url.host, door.base_url.port)
    connection.putrequest("POST", "/predict")
    for name, value in (("Content-Type", "application/json"), ("Content-Length", "5")):
        connection.putheader(name, value)
    connection.putheader("Authorization", f"Bearer {'a' * 32}")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.endheaders(b"[[1]]")
    assert connection.getresponse().status in {400, 401}
    for name in ("token", "access_token", "authorization"):
        assert door.post(f"/predict?{name}={TOKEN}", json=ROWS).status_code in {401, 429}


def test_no_token_reaches_a_replica_or_a_log(guarded: Fleet, door: httpx.Client) -> None:
    received = door.post("/predict", json=ROWS, headers=bear(TOKEN) | {"X-Token-Id": "forged"}).json()["headers"]
    door.post(f"/predict?token={TOKEN}", json=ROWS, headers=bear(TOKEN))
    assert "authorization" not in received
    assert received["x-token-id"] == hashlib.sha256(b"user-7").hexdigest()[:12]
    assert "x-token-id" not in door.get("/models", headers={"X-Token-Id": "forged"}).json()["headers"]
    wait_until(
        lambda: f'"token":"{received["x-token-id"]}"' in read_log(guarded.gateway), "the log has the name's hash"
    )
    files = docker("exec", guarded.gateway, "sh", "-c", "cat /tmp/*.conf")
    assert TOKEN not in read_log(guarded.gateway) + files
    assert "user-7" not in read_log(guarded.gateway)


def test_guesses_are_limited_and_tokens_are_not(door: httpx.Client) -> None:
    guesses = Counter(ask(door, f"Bearer {secrets.token_hex(16)}") for _ in range(60))
    assert set(guesses) == {401, 429}
    assert ask(door, f"Bearer {TOKEN}") == 200


def test_the_requests_of_a_token_count_together(guarded: Fleet) -> None:
    with httpx.Client(base_url=guarded.start_gateway(**SETTINGS, RATE_LIMIT_PER_SECOND="1")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        wait_until(lambda: ask(client, f"Bearer {TOKEN}") == 200, "its rate is fresh")
        answers = [client.post("/predict", json=ROWS, headers=bear(TOKEN)) for _ in range(40)]
        other = ask(client, f"Bearer {TOKENS['user-8']}")
    refused = [answer for answer in answers if answer.status_code == 429]
    assert "from this token" in refused[0].json()["error"]
    assert other == 200


def test_tokens_change_without_a_restart_and_without_a_lost_request(folder: Path) -> None:
    fleet = Fleet()
    file, old, new = folder / "tokens", "old-" + "0" * 20, "new-" + "1" * 20
    file.write_text(f"ann:{old}\n")
    try:
        fleet.start_replica("serving", "one")
        with httpx.Client(base_url=fleet.start_gateway(folder, **SETTINGS)) as client:
            wait_until(lambda: ask(client, f"Bearer {old}") == 200, "the file's token is taken")
            file.write_text(f"# both, while clients change\nann:{old}\nann-2:{new}\n")
            wait_until(
                lambda: ask(client, f"Bearer {new}") == 200,
                "the new token is taken",
                explain=lambda: read_log(fleet.gateway),
            )
            assert ask(client, f"Bearer {old}") == 200
            file.write_text(f"ann-2:{new}\n")
            statuses = []
            wait_until(lambda: statuses.append(ask(client, f"Bearer {old}")) or statuses[-1] in {401, 429}, "it ends")  # type: ignore[func-returns-value]
            assert set(statuses) <= {200, 401, 429}
            file.write_text("ann-2:short\n")
            wait_until(
                lambda: "the gateway keeps the old ones" in read_log(fleet.gateway), "the log says what is wrong"
            )
            assert ask(client, f"Bearer {new}") == 200
    finally:
        file.unlink()
        fleet.close()


BAD = {
    "no name": {"GATEWAY_TOKENS": "0123456789abcdef"},
    "short": {"GATEWAY_TOKENS": "ann:0123456789abcde"},
    "a name twice": {"GATEWAY_TOKENS": "ann:0123456789abcdef,Ann:fedcba9876543210"},
    "a token twice": {"GATEWAY_TOKENS": "ann:0123456789abcdef,bob:0123456789abcdef"},
    "the rollouts' name": {"GATEWAY_TOKENS": "rollout:0123456789abcdef"},
    "the monitoring's name": {"GATEWAY_TOKENS": "probe:0123456789abcdef"},
    "a way out": {"GATEWAY_TOKENS": 'ann:0123456789abcdef";}'},
    "none off loopback": {"GATEWAY_TOKENS": "", "BIND_ADDRESS": "0.0.0.0"},
    "none behind a proxy": {"GATEWAY_TOKENS": "", "BIND_ADDRESS": "127.0.0.1", "TLS_BY_PROXY": "yes"},
    "none of the rollouts": {"GATEWAY_ROLLOUT_TOKEN": ""},
}


@pytest.mark.parametrize("way", BAD)
def test_bad_tokens_stop_the_start_and_are_not_shown(way: str) -> None:
    settings = SETTINGS | BAD[way]
    command = [str(Path(__file__).parents[3] / "docker/nginx/programs/read-tokens.sh")]
    ended = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", **settings}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("FAIL: GATEWAY_TOKENS: expected")
    assert not re.search("0123456789abcde|fedcba98", ended.stderr + ended.stdout)


def test_the_tables_of_a_gateway_without_tokens_demand_none(door: httpx.Client, guarded: Fleet) -> None:
    with httpx.Client(base_url=guarded.start_gateway(CANARY_PERCENT="0")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        assert json.loads(client.post("/predict", json=ROWS).text)["replica"] == "one"
