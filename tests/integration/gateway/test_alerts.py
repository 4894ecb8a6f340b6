"""Alerts and figures on the start page: a fixed query of Prometheus for each, and no other way to it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx

from tests.integration.gateway.containers import Fleet, wait_until

ALERTS = '{__name__=~"ALERTS|mlops:alert_fired_timestamp_seconds",alertstate=~"firing|"}'
NAMES = "mlops:predictions:rate1m|mlops:prediction_seconds:p99_5m|mlops:prediction_error_ratio:5m"
FIGURES = f'{{__name__=~"{NAMES}"}}[1h:30s]'


def test_without_prometheus_the_start_page_has_neither(gateway: httpx.Client) -> None:
    for path in ("/status/alerts", "/status/figures"):
        assert gateway.get(path).status_code in {502, 503}
    assert {"alert-section", "figure-section"} <= set(gateway.get("/").text.split('"'))


def test_two_queries_reach_prometheus_whatever_a_client_sends(fleet: Fleet) -> None:
    fleet.start_replica("prometheus", "prometheus", port=9090)
    with httpx.Client(base_url=fleet.start_gateway()) as client:
        wait_until(lambda: client.get("/status/alerts").status_code == 200, "Prometheus answers")
        for path, query in (("/status/alerts", ALERTS), ("/status/figures", FIGURES)):
            for suffix in ("", "?query=up", "?query=a&time=1"):
                got = client.get(path + suffix, headers={"Cookie": "a=b", "Authorization": "Basic x"}).json()
                address = urlsplit(got["path"])
                assert (address.path, parse_qs(address.query)) == ("/api/v1/query", {"query": [query]})
                assert not {"cookie", "authorization"} & set(got["headers"])
            assert client.post(path, content="query=up").status_code == 405
        for path in ("/status/alerts/", "/status/figuresx", "/status/prometheus", "/api/v1/query?query=up", "/graph"):
            assert client.get(path).status_code == 404
