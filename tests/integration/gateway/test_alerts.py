"""Alerts on the start page: one fixed query of Prometheus, and no other way to it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx

from tests.integration.gateway.containers import Fleet, wait_until

SERIES = '{__name__=~"ALERTS|mlops:alert_fired_timestamp_seconds",alertstate=~"firing|"}'


def test_without_prometheus_the_start_page_has_no_alerts(gateway: httpx.Client) -> None:
    assert gateway.get("/status/alerts").status_code in {502, 503}
    assert "alert-section" in gateway.get("/").text


def test_one_query_reaches_prometheus_whatever_a_client_sends(fleet: Fleet) -> None:
    fleet.start_replica("prometheus", "prometheus", port=9090)
    with httpx.Client(base_url=fleet.start_gateway()) as client:
        wait_until(lambda: client.get("/status/alerts").status_code == 200, "Prometheus answers")
        for path in ("/status/alerts", "/status/alerts?query=up", "/status/alerts?query=a&time=1"):
            got = client.get(path, headers={"Cookie": "a=b", "Authorization": "Basic x"}).json()
            address = urlsplit(got["path"])
            assert (address.path, parse_qs(address.query)) == ("/api/v1/query", {"query": [SERIES]})
            assert not {"cookie", "authorization"} & set(got["headers"])
        assert client.post("/status/alerts", content="query=up").status_code == 405
        for path in ("/status/alerts/", "/status/alertsx", "/status/prometheus", "/api/v1/query?query=up", "/graph"):
            assert client.get(path).status_code == 404
