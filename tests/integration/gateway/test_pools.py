"""Which replica the gateway asks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.gateway.containers import Fleet, docker, wait_until

ROWS = [[5.1, 3.5, 1.4, 0.2]]


def predict(client: httpx.Client, **headers: str) -> dict[str, str]:
    """Returns the replica that answered and the pool of the request."""
    answer = client.post(
        "/predict", json=ROWS, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )
    assert answer.status_code == 200, answer.text
    return {"replica": answer.json()["replica"], "pool": answer.json()["headers"]["x-pool"]}


def test_the_share_of_requests_without_a_user_goes_to_the_canary(gateway: httpx.Client) -> None:
    pools = Counter(predict(gateway)["pool"] for _ in range(500))
    assert 55 <= pools["canary"] <= 150, "20 % of 500 is 100; five standard deviations are 45"


def test_both_stable_replicas_are_asked(gateway: httpx.Client) -> None:
    replicas = {predict(gateway)["replica"] for _ in range(60)}
    assert {"one", "two"} <= replicas


def test_a_user_stays_in_a_pool(gateway: httpx.Client) -> None:
    first = {user: predict(gateway, X_User_Id=f"user-{user}")["pool"] for user in range(60)}
    again = {user: predict(gateway, X_User_Id=f"user-{user}")["pool"] for user in range(60)}
    assert first == again
    assert set(first.values()) == {"stable", "canary"}


def test_a_user_is_sent_to_the_same_pool_by_every_gateway_and_at_any_time(
    gateway: httpx.Client, full_fleet: Fleet
) -> None:
    users = [f"user-{number}" for number in range(60)]
    first = {user: predict(gateway, X_User_Id=user)["pool"] for user in users}
    with httpx.Client(base_url=full_fleet.start_gateway()) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        assert {user: predict(client, X_User_Id=user)["pool"] for user in users} == first


def test_an_answer_names_the_version_that_its_replica_named(gateway: httpx.Client) -> None:
    assert gateway.post("/predict", json=ROWS).headers["X-Model-Version"] == "7"


def test_without_a_stable_replica_the_canary_answers_and_knows_that_it_was_not_meant(fleet: Fleet) -> None:
    fleet.start_replica("serving-canary", "one")
    with httpx.Client(base_url=fleet.start_gateway(CANARY_PERCENT="0")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        for headers in ({}, {"X-User-Id": "ann"}, {"X-Variant": "stable"}):
            answer = client.post("/predict", json=ROWS, headers=headers).json()
            assert (answer["replica"], answer["headers"]["x-pool"]) == ("one", "stable"), headers


def test_the_header_variant_forces_the_canary(gateway: httpx.Client) -> None:
    assert {predict(gateway, X_Variant="canary")["replica"] for _ in range(20)} == {"three"}


def test_the_header_variant_forces_the_stable_pool(full_fleet: Fleet) -> None:
    with httpx.Client(base_url=full_fleet.start_gateway(CANARY_PERCENT="100")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        asked = {tuple(predict(client, X_Variant="stable").values()) for _ in range(20)}
    assert asked <= {("one", "stable"), ("two", "stable")}


def test_a_replay_is_told_to_the_replica(gateway: httpx.Client) -> None:
    answer = gateway.post("/predict", json=ROWS, headers={"X-Replay": "1"})
    assert answer.json()["headers"]["x-replay"] == "1"


@pytest.mark.parametrize(
    ("headers", "choice"),
    [
        ({}, "drawn"),
        ({"X-User-Id": "ann"}, "drawn"),
        ({"X-Variant": "canary"}, "asked"),
        ({"X-Variant": "stable"}, "asked"),
        ({"X-Variant": "CANARY"}, "asked"),
        ({"X-Variant": "else"}, "asked"),
        ({"X-Variant": "canary", "X-Pool-Choice": "drawn"}, "asked"),
        ({"X-Pool-Choice": "asked"}, "drawn"),
    ],
)
def test_a_replica_learns_whether_the_gateway_chose_and_no_client_says_so(
    gateway: httpx.Client, headers: dict[str, str], choice: str
) -> None:
    for path in ("/predict", "/models/iris/predict", "/v2/models/iris/infer"):
        sent = gateway.post(path, json=ROWS, headers={**headers, "X-Forwarded-For": "10.9.9.9"}).json()["headers"]
        assert sent["x-pool-choice"] == choice
        assert sent["x-forwarded-for"] != "10.9.9.9"


@pytest.mark.parametrize(("percent", "pool"), [("0", "stable"), ("100", "canary")])
def test_none_or_all_go_to_the_canary(full_fleet: Fleet, percent: str, pool: str) -> None:
    with httpx.Client(base_url=full_fleet.start_gateway(CANARY_PERCENT=percent)) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        assert {predict(client, X_Pool="spoofed")["pool"] for _ in range(50)} == {pool}


def test_a_client_cannot_say_which_pool_was_meant(gateway: httpx.Client) -> None:
    pools = Counter(predict(gateway, X_Pool="canary")["pool"] for _ in range(60))
    assert pools["stable"] > 20


def test_without_a_canary_the_stable_pool_answers_and_knows_what_was_meant(fleet: Fleet) -> None:
    fleet.start_replica("serving", "one")
    with httpx.Client(base_url=fleet.start_gateway()) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        assert predict(client, X_Variant="canary") == {"replica": "one", "pool": "canary"}


def test_a_replica_that_can_answer_is_found_behind_two_that_cannot(fleet: Fleet) -> None:
    for name in ("one", "two"):
        fleet.start_replica("serving", name, status=503)
    fleet.start_replica("serving-canary", "three")
    with httpx.Client(base_url=fleet.start_gateway(CANARY_PERCENT="0")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "the canary answers")
        answers: list[str] = []
        while len(answers) < 60:
            answers.append(predict(client)["replica"])
            time.sleep(0.1)  # 6 s: replicas are tried again every 2 s
    assert set(answers) == {"three"}


def test_it_starts_without_replicas_and_finds_them_when_they_come(fleet: Fleet) -> None:
    with httpx.Client(base_url=fleet.start_gateway()) as client:
        missing = client.post("/predict", json=ROWS)
        fleet.start_replica("serving", "one")
        wait_until(lambda: client.post("/predict", json=ROWS).status_code == 200, "the replica is found")
    assert missing.status_code == 503


def test_killing_a_replica_under_load_loses_no_request(fleet: Fleet) -> None:
    victim = fleet.start_replica("serving", "one")
    fleet.start_replica("serving", "two")
    url = fleet.start_gateway(CANARY_PERCENT="0")
    with httpx.Client(base_url=url) as client:
        wait_until(lambda: {predict_quietly(client) for _ in range(10)} == {"one", "two"}, "both replicas answer")
    answers, is_over = Counter[str](), threading.Event()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask_until, is_over, url, answers) for _ in range(8)]
        try:
            wait_until(lambda: answers["one"] > 20, "the victim answers")
            docker("kill", victim)
            before = answers["two"]
            wait_until(lambda: answers["two"] > before + 100, "the other one answers all")
        finally:
            is_over.set()
    for client in asking:
        client.result()
    assert set(answers) == {"one", "two"}, answers


def predict_quietly(client: httpx.Client) -> str:
    answer = client.post("/predict", json=ROWS)
    return str(answer.json()["replica"]) if answer.status_code == 200 else f"HTTP {answer.status_code}"


def ask_until(is_over: threading.Event, url: str, answers: Counter[str]) -> None:
    with httpx.Client(base_url=url) as client:
        while not is_over.wait(0.05):
            answers[predict_quietly(client)] += 1


def test_the_names_of_the_replicas_and_their_dns_are_settings(fleet: Fleet) -> None:
    """Kubernetes has other names, and its own DNS."""
    for service, name in (("stable.cluster.local", "one"), ("canary.cluster.local", "two")):
        fleet.start_replica(service, name)
    names = {"STABLE_HOST": "stable.cluster.local", "CANARY_HOST": "canary.cluster.local"}
    with httpx.Client(base_url=fleet.start_gateway(**names, RESOLVER="127.0.0.11")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        asked = {predict(client, X_Variant=pool)["replica"] for pool in ("stable", "canary") for _ in range(5)}
    assert asked == {"one", "two"}


def test_a_name_that_would_break_the_settings_of_nginx_is_refused(full_fleet: Fleet) -> None:
    for setting, name in (("STABLE_HOST", "stable"), ("CANARY_HOST", "canary"), ("RESOLVER", "resolver")):
        refused = full_fleet.try_gateway(**{setting: "a b; return 200"})
        assert refused.returncode != 0
        assert f"the name of {name}: expected a host name" in refused.stderr
