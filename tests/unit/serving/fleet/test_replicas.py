"""Waiting for replicas that follow the aliases."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving.comparison.counters import Reading
from serving.comparison.senders import Evidence
from serving.errors import BreachError, FleetError
from serving.fleet.replicas import Challenger, DnsFleet, find_replicas, wait_for_challenger, wait_for_version


class FakeFleet:
    """Readings one after the other; the last one stays."""

    has_canary_pool = True

    def __init__(self, *readings: Mapping[str, str | None], refused: str | None = None) -> None:
        self.readings = list(readings)
        self.refused = refused

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def read_challengers(self, model: str, alias: str = "challenger") -> Mapping[str, Challenger]:
        versions = self.read_versions(model)
        return {address: Challenger(version, self.refused, "too bad") for address, version in versions.items()}

    def read_evidence(self, model: str, version: str, mark: str) -> Mapping[str, Evidence]:
        return {}

    def read_refusals(self, model: str, version: str) -> Mapping[str, str]:
        return {}

    def read_figures(self, model: str) -> Mapping[str, Reading]:
        return {}


def no_pause(seconds: float) -> None:
    """The fleet's readings stand in for the time that passes."""


def test_waiting_ends_when_every_replica_has_the_version_twice_running() -> None:
    fleet = FakeFleet({}, {"a": "1", "b": None}, {"a": "2", "b": "2"}, {"a": "2", "b": "1"}, {"a": "2", "b": "2"})
    assert wait_for_version(fleet, "iris", "2", 60, pause=no_pause) == ["a", "b"]
    assert fleet.readings == [{"a": "2", "b": "2"}]


@pytest.mark.parametrize("reading", [{}, {"a": "1"}, {"a": "2", "b": None}])
def test_waiting_for_replicas_that_do_not_come_fails_and_says_what_they_have(reading: dict[str, str | None]) -> None:
    with pytest.raises(FleetError, match="every replica to answer with version 2"):
        wait_for_version(FakeFleet(reading), "iris", "2", 0, pause=no_pause)
    with pytest.raises(FleetError, match="the canary pool to answer with version 2"):
        wait_for_challenger(FakeFleet(reading), "iris", "2", 0, pause=no_pause)


def test_a_canary_that_refuses_the_version_is_not_waited_for() -> None:
    with pytest.raises(BreachError, match="the canary a refuses version 2: too bad"):
        wait_for_challenger(FakeFleet({"a": None}, refused="2"), "iris", "2", 60, pause=no_pause)


def test_a_canary_that_refused_an_earlier_version_is_waited_for() -> None:
    fleet = FakeFleet({"a": None}, {"a": "2"}, refused="1")
    assert wait_for_challenger(fleet, "iris", "2", 60, pause=no_pause) == ["a"]


def test_replicas_are_asked_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replica(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"models": [{"name": "iris", "variant": "champion", "version": "2"}]}')

    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Replica) as server:
        threading.Thread(target=server.handle_request).start()
        fleet = DnsFleet(["127.0.0.1"], [], server.server_port)
        assert fleet.read_versions("iris") == {f"127.0.0.1:{server.server_port}": "2"}


def test_the_shadow_of_a_replica_is_read_where_it_tells_its_state() -> None:
    class Replica(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            shadow = {"name": "iris", "version": "4", "rows": 90, "dropped": {"full": 5, "failed": 3}}
            of_canary = [{"name": "iris", "variant": "challenger", "version": "2"}]
            shadows = [shadow] if self.path == "/readyz" else []
            self.wfile.write(json.dumps({"models": of_canary, "shadows": shadows}).encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Replica) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        fleet, address = DnsFleet([], ["127.0.0.1"], server.server_port), f"127.0.0.1:{server.server_port}"
        assert fleet.read_challengers("iris", "shadow") == {address: Challenger("4", rows=90, failed=3)}
        assert fleet.read_challengers("titanic", "shadow") == {address: Challenger(None)}
        assert fleet.read_challengers("iris") == {address: Challenger("2")}
        server.shutdown()
        thread.join()


def test_names_that_are_gone_and_replicas_that_do_not_answer_say_nothing() -> None:
    fleet = DnsFleet(["127.0.0.1"], ["nowhere.invalid"], 1)
    assert fleet.read_versions("iris") == {"127.0.0.1:1": None}
    assert fleet.read_challengers("iris") == {}
    assert fleet.read_figures("iris") == {}
    assert fleet.has_canary_pool
    assert not DnsFleet(["127.0.0.1"], [], 1).has_canary_pool


def test_every_replica_that_a_name_lists_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"serving": ["10.1.0.9", "10.1.0.5"], "serving-canary": ["10.1.0.7", "10.1.0.5"]}

    def resolve(host: str, port: int, *_: object) -> list[tuple[object, ...]]:
        return [(None, None, None, "", (address, port)) for address in listed[host]]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    assert find_replicas(listed, 3000) == ["10.1.0.5:3000", "10.1.0.7:3000", "10.1.0.9:3000"]
