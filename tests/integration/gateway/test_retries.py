"""Which replicas see a prediction that fails."""

from __future__ import annotations

import time

import httpx

from tests.integration.gateway.containers import Fleet, docker, wait_until

ROWS = [[5.1, 3.5, 1.4, 0.2]]


def test_a_request_that_ends_its_replica_reaches_one_other_and_not_each(fleet: Fleet) -> None:
    services = ("serving", "serving", "serving", "serving-canary")
    dying = [fleet.start_replica(service, str(number), status=0) for number, service in enumerate(services)]
    with httpx.Client(base_url=fleet.start_gateway(CANARY_PERCENT="0")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        answer = client.post("/predict", json=ROWS)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert sum(docker("logs", replica).count("took") for replica in dying) == 2


def test_a_request_whose_replica_died_is_answered_by_another(fleet: Fleet) -> None:
    for name, status in (("one", 0), ("two", 200)):
        fleet.start_replica("serving", name, status)
    with httpx.Client(base_url=fleet.start_gateway(CANARY_PERCENT="0")) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        for _ in range(20):
            assert client.post("/predict", json=ROWS).json()["replica"] == "two"


def test_a_busy_replica_is_not_asked_to_be_replaced_and_says_once_when_to_come_again(fleet: Fleet) -> None:
    fleet.start_replica("serving", "busy", status=429)
    with httpx.Client(base_url=fleet.start_gateway(CANARY_PERCENT="0")) as client:
        wait_until(lambda: client.post("/predict", json=ROWS).status_code == 429, "the busy replica answers")
        answer = client.post("/predict", json=ROWS)
    assert (answer.json()["replica"], answer.headers.get_list("Retry-After")) == ("busy", ["1"])


def test_without_any_replica_the_answer_says_so_at_once(fleet: Fleet) -> None:
    replicas = [fleet.start_replica(service, service) for service in ("serving", "serving-canary")]
    with httpx.Client(base_url=fleet.start_gateway()) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        docker("kill", *replicas)
        for path in ("/predict", "/models/iris/predict", "/v2/models/iris/infer", "/models"):
            start = time.monotonic()
            answer = client.request("GET" if path == "/models" else "POST", path, json=ROWS)
            # Before any time-out of the gateway but that of a connection, which is 75 ms.
            assert time.monotonic() - start < 5, path
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), path
            assert answer.json()["error"].startswith("no replica answers"), path
        docker("start", replicas[0])
        wait_until(lambda: client.post("/predict", json=ROWS).status_code == 200, "it is found again")
