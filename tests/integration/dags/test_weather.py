"""`crawling_weather` run by Airflow itself against a server that answers as the KMA does."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import RetryAction

from ml_code.etl import weather_errors
from ml_code.etl.kma_document import KST
from ml_code.warehouse import Warehouse
from tests.integration.dags.run_dag import run_dag
from tests.kma_server import DECODING_KEY, ENCODING_KEY, KmaServer, plain, run_kma_server

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def kma() -> Iterator[KmaServer]:
    # Later than the clock of the task, to whom the newest issue is out a moment before the server was started.
    with run_kma_server(datetime.now(KST) + timedelta(hours=1)) as server:
        yield server


def crawl(environment: dict[str, str], kma: KmaServer, key: str, **conf: object) -> dict[str, Any]:
    connection = json.dumps({"conn_type": "http", "host": kma.url, "password": key})
    debug = {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG", "TZ": "UTC"}
    return run_dag({**environment, **debug, "AIRFLOW_CONN_KMA_API": connection}, "crawling_weather", **conf)


def test_a_run_fills_table_and_csv_and_logs_no_key(airflow_environment: dict[str, str], kma: KmaServer) -> None:
    ran = crawl(airflow_environment, kma, ENCODING_KEY)
    assert ran["state"] == "success", ran["log"][-3000:]
    assert ran["tasks"] == {"collect[-1]": "success", "preprocess_and_save[-1]": "success"}
    with Warehouse(airflow_environment["MLOPS_WAREHOUSE_DSN"]).transaction() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*), min(nx), max(ny) FROM warehouse.weather_forecast")
        assert cursor.fetchone() == (60, 60, 127)
    assert len(kma.queries) == 1
    assert "s3://datasets/weather/nx60_ny127.csv" in ran["log"]
    assert not any(form in ran["log"] for form in (DECODING_KEY, ENCODING_KEY))


def test_without_a_key_it_fails_at_once_and_says_how_to_set_one(
    airflow_environment: dict[str, str], kma: KmaServer
) -> None:
    ran = crawl(airflow_environment, kma, "")
    assert ran["tasks"]["collect[-1]"] == "failed"
    assert "set KMA_SERVICE_KEY in .env" in ran["log"]
    assert kma.queries == []


def test_without_the_connection_it_fails_at_once_too(airflow_environment: dict[str, str]) -> None:
    ran = run_dag(airflow_environment, "crawling_weather")
    assert ran["tasks"]["collect[-1]"] == "failed"
    assert "set KMA_SERVICE_KEY in .env" in ran["log"]


def test_a_busy_api_is_asked_again_when_it_said_to(airflow_environment: dict[str, str], kma: KmaServer) -> None:
    kma.answers = [plain("", 503, Retry_After="1")]
    ran = crawl(airflow_environment, kma, DECODING_KEY, nx=98, ny=76)
    assert "the API asked to wait 1 s" in ran["log"]
    assert ran["tasks"]["collect[-1]"] in {"success", "up_for_retry"}


@pytest.mark.parametrize(
    ("error", "action", "seconds"),
    [
        (weather_errors.WeatherKeyError("refused"), RetryAction.FAIL, None),
        (weather_errors.WeatherKeyError("refused", 60), RetryAction.FAIL, None),
        (weather_errors.WeatherQuotaError("used up"), RetryAction.FAIL, None),
        (weather_errors.WeatherRequestError("no such place"), RetryAction.FAIL, None),
        (weather_errors.WeatherNotReadyError("not yet"), RetryAction.DEFAULT, None),
        (weather_errors.WeatherTimeoutError("late"), RetryAction.DEFAULT, None),
        (weather_errors.WeatherBusyError("busy", 90), RetryAction.RETRY, 90),
        (weather_errors.WeatherUnavailableError("down", 0), RetryAction.RETRY, 0),
        (weather_errors.WeatherUnavailableError("down", float("inf")), RetryAction.FAIL, None),
    ],
)
def test_when_a_failed_try_is_repeated(
    error: Exception, action: RetryAction, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "plugins"))
    module = runpy.run_path(str(REPOSITORY / "dags" / "crawling_weather.py"))
    policy = module["crawling_weather"]().default_args["retry_policy"]
    decision = policy.evaluate(error, 1, 6)
    assert decision.action is action
    assert decision.retry_delay == (None if seconds is None else timedelta(seconds=seconds))
