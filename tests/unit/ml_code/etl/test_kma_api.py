from __future__ import annotations

import json
import logging
import math
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from ml_code.etl import weather_errors
from ml_code.etl.kma_api import KmaApi, find_issue, read_retry_after
from ml_code.etl.kma_document import KST, Place, read_items
from ml_code.etl.kma_results import RESULTS
from tests.kma_server import (
    DECODING_KEY,
    ENCODING_KEY,
    Answer,
    KmaServer,
    gateway_json,
    gateway_xml,
    plain,
    run_kma_server,
    service_error,
)
from tests.ports import free_port

SEOUL = Place(60, 127)
NOON = datetime(2026, 11, 21, 12, 50, tzinfo=KST)
ISSUE = datetime(2026, 11, 21, 12, 30, tzinfo=KST)


SILENCE = Answer("", delay_seconds=2)


@pytest.fixture(scope="module")
def running_server() -> Iterator[KmaServer]:
    with run_kma_server(NOON) as server:
        yield server


@pytest.fixture
def kma(running_server: KmaServer) -> KmaServer:
    running_server.now = NOON
    running_server.answers.clear()
    running_server.queries.clear()
    return running_server


def fetch(kma: KmaServer, **options: int) -> bytes:
    return KmaApi(DECODING_KEY, kma.url, **options).fetch_forecast(SEOUL, ISSUE)


def fail(kma: KmaServer, *answers: Answer) -> weather_errors.WeatherError:
    """The error that these answers lead to; each one keeps the key and the address to itself."""
    kma.answers = list(answers)
    wait_seconds = 0.3 if SILENCE in answers else 30
    with pytest.raises(weather_errors.WeatherError) as caught:
        KmaApi(DECODING_KEY, kma.url, timeout_seconds=(30, wait_seconds)).fetch_forecast(SEOUL, ISSUE)
    said = "".join(traceback.format_exception(caught.value))
    assert not any(form in said for form in (DECODING_KEY, ENCODING_KEY, quote(DECODING_KEY), "serviceKey="))
    assert "; " in str(caught.value)
    return caught.value


def page_with(**changes: object) -> Answer:
    """A page of one row with some fields of its body changed."""
    row = {"baseDate": "20261121", "baseTime": "1230", "category": "T1H", "fcstDate": "20261121", "fcstTime": "1300"}
    row |= {"fcstValue": "7", "nx": 60, "ny": 127}
    row = {name: value for name, value in (row | changes).items() if value != "absent"}
    body = {"items": {"item": [row]}, "pageNo": 1, "numOfRows": 1000, "totalCount": changes.get("totalCount", 1)}
    return Answer(json.dumps({"response": {"header": {"resultCode": "00"}, "body": body}}))


@pytest.mark.parametrize(
    ("now", "issue"),
    [
        ("2026-11-21T12:45:00+09:00", "2026-11-21T12:30:00+09:00"),
        ("2026-11-21T12:44:59+09:00", "2026-11-21T11:30:00+09:00"),
        ("2026-11-21T00:44:00+09:00", "2026-11-20T23:30:00+09:00"),
        ("2027-01-01T00:10:00+09:00", "2026-12-31T23:30:00+09:00"),
        ("2026-11-20T15:50:00+00:00", "2026-11-21T00:30:00+09:00"),
        ("2026-11-20T10:50:00-05:00", "2026-11-21T00:30:00+09:00"),
    ],
)
def test_the_newest_issue_is_the_one_served_since_a_quarter_to(now: str, issue: str) -> None:
    assert find_issue(datetime.fromisoformat(now)).isoformat() == issue


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Seoul"])
def test_the_hosts_zone_does_not_matter(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert find_issue(datetime(2026, 11, 20, 15, 44, tzinfo=UTC)).isoformat() == "2026-11-20T23:30:00+09:00"
        with pytest.raises(weather_errors.WeatherRequestError, match="found no zone"):
            find_issue(datetime(2026, 11, 20, 15, 44))  # noqa: DTZ001  that is the case
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("key", [DECODING_KEY, ENCODING_KEY, f" {ENCODING_KEY}\n"])
def test_either_form_of_the_key_is_encoded_once(kma: KmaServer, key: str) -> None:
    assert len(read_items(KmaApi(key, kma.url).fetch_forecast(SEOUL, ISSUE))) == 60
    assert f"serviceKey={ENCODING_KEY}&" in kma.queries[0]


@pytest.mark.parametrize("page_rows", [1000, 60, 59, 7])
def test_pages_are_put_together_and_kept_as_they_came(kma: KmaServer, page_rows: int) -> None:
    document = fetch(kma, page_rows=page_rows)
    pages = json.loads(document)
    assert len(pages) == len(kma.queries) == -(-60 // page_rows)
    assert [page["response"]["body"]["pageNo"] for page in pages] == list(range(1, len(pages) + 1))
    items = read_items(document)
    assert len({(item.forecast_at, item.category) for item in items}) == 60
    assert {(item.place, item.issued_at) for item in items} == {(SEOUL, ISSUE)}
    assert min(item.forecast_at for item in items).isoformat() == "2026-11-21T13:00:00+09:00"


@pytest.mark.parametrize("code", sorted(RESULTS))
@pytest.mark.parametrize("form", [service_error, gateway_xml, gateway_json])
def test_every_result_code_has_its_error_in_every_form(kma: KmaServer, code: str, form: type) -> None:
    error = fail(kma, form(code, RESULTS[code].name))
    assert type(error) is RESULTS[code].error
    assert f"found result {code} {RESULTS[code].name}" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("03", weather_errors.WeatherNotReadyError),
        ("10", weather_errors.WeatherRequestError),
        ("22", weather_errors.WeatherQuotaError),
        ("23", weather_errors.WeatherBusyError),
        ("30", weather_errors.WeatherKeyError),
        ("31", weather_errors.WeatherKeyError),
        ("77", weather_errors.WeatherUnavailableError),
    ],
)
def test_each_code_decides_about_a_retry(kma: KmaServer, code: str, kind: type) -> None:
    assert type(fail(kma, service_error(code, "whatever it says"))) is kind


@pytest.mark.parametrize(
    ("answer", "kind", "found"),
    [
        (Answer("<!DOCTYPE html><html>maintenance</html>"), weather_errors.WeatherAnswerError, "status 200 with HTML"),
        (Answer('{"response":{"header":{"resultCode":"00"'), weather_errors.WeatherAnswerError, "no result code"),
        (Answer("{}"), weather_errors.WeatherAnswerError, "no result code"),
        (Answer(""), weather_errors.WeatherAnswerError, "no result code"),
        (Answer("[" * 100_000), weather_errors.WeatherAnswerError, "no result code"),
        (Answer('{"response":{"header":{"resultCode":"00"}}}'), weather_errors.WeatherAnswerError, "no field 'body'"),
        (page_with(fcstValue="absent"), weather_errors.WeatherAnswerError, "no field 'fcstValue'"),
        (page_with(baseTime="1130"), weather_errors.WeatherAnswerError, "another place or issue"),
        (page_with(nx=61), weather_errors.WeatherAnswerError, "another place or issue"),
        (page_with(nx=0), weather_errors.WeatherAnswerError, "nx=0"),
        (page_with(fcstDate="2026-11"), weather_errors.WeatherAnswerError, "ValueError"),
        (page_with(nx=math.inf), weather_errors.WeatherAnswerError, "OverflowError"),
        (page_with(totalCount=math.inf), weather_errors.WeatherAnswerError, "no such JSON"),
        (page_with(category="T1H\0"), weather_errors.WeatherAnswerError, "the category 'T1H"),
        (page_with(category="\ud800"), weather_errors.WeatherAnswerError, "the category"),
        (page_with(totalCount=0), weather_errors.WeatherNotReadyError, "no rows"),
        (page_with(totalCount=10**9), weather_errors.WeatherAnswerError, "totalCount 1000000000"),
        (plain("", 500), weather_errors.WeatherUnavailableError, "status 500"),
        (plain("", 302, Location="http://127.0.0.1:1/"), weather_errors.WeatherAnswerError, "status 302"),
        (plain("Unauthorized", 401), weather_errors.WeatherKeyError, "'Unauthorized'"),
        (plain("API token quota exceeded", 429), weather_errors.WeatherQuotaError, "quota exceeded"),
        (plain("API rate limit exceeded", 429), weather_errors.WeatherBusyError, "rate limit"),
        (plain("", 429), weather_errors.WeatherBusyError, "status 429"),
        (SILENCE, weather_errors.WeatherTimeoutError, "no answer within 0.3 s"),
    ],
)
def test_a_response_without_a_forecast_is_described(kma: KmaServer, answer: Answer, kind: type, found: str) -> None:
    error = fail(kma, answer)
    assert type(error) is kind
    assert found in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"fcstDate": "x" * 4000},
        {"nx": "9" * 4000},
        {"nx": "\x1b[31m" * 900},
        {"category": "\n" * 4000},
        {"totalCount": 10**4000},
    ],
    ids=["date", "number", "colours", "lines", "count"],
)
def test_of_what_the_service_answers_little_is_quoted(kma: KmaServer, changes: dict[str, object]) -> None:
    message = str(fail(kma, page_with(**changes)))
    assert message.isprintable()
    assert len(message) < 250


def test_items_as_empty_text_are_no_rows_yet(kma: KmaServer) -> None:
    empty = {"response": {"header": {"resultCode": "00"}, "body": {"items": "", "totalCount": 0}}}
    assert type(fail(kma, Answer(json.dumps(empty)))) is weather_errors.WeatherNotReadyError


def test_a_missing_page_is_reported(kma: KmaServer) -> None:
    nothing = {"response": {"header": {"resultCode": "00"}, "body": {"items": {"item": []}, "totalCount": 2}}}
    error = fail(kma, page_with(totalCount=2), Answer(json.dumps(nothing)))
    assert "1 rows and an empty page, expected the 2 of its totalCount" in str(error)


def test_a_repeated_row_is_reported(kma: KmaServer) -> None:
    assert "a value twice" in str(fail(kma, page_with(totalCount=2), page_with(totalCount=2)))


def test_an_error_on_a_later_page_is_the_result(kma: KmaServer) -> None:
    page = page_with(totalCount=2)
    quota = gateway_xml("22", "LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR")
    assert type(fail(kma, page, quota)) is weather_errors.WeatherQuotaError


def test_entities_in_an_error_are_not_expanded(kma: KmaServer) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "99">]><x><returnReasonCode>&a;</returnReasonCode></x>'
    assert type(fail(kma, Answer(bomb))) is weather_errors.WeatherAnswerError


@pytest.mark.parametrize("status", [429, 503])
def test_the_time_to_wait_is_kept(kma: KmaServer, status: int) -> None:
    assert fail(kma, plain("", status, Retry_After="120")).retry_after_seconds == 120
    assert fail(kma, plain("", status)).retry_after_seconds is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("Sat, 21 Nov 2026 04:00:00 GMT", 600.0),
        ("Sat, 21 Nov 2026 03:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2026 04:00:00 -0000", 600.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    now = datetime(2026, 11, 21, 3, 50, tzinfo=UTC)
    assert read_retry_after({"Retry-After": text}, now) == seconds


def test_the_key_is_in_no_log_even_at_debug(kma: KmaServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        fetch(kma)
        fail(kma, plain("", 500))
        fail(kma, SILENCE)
        unreachable = KmaApi(ENCODING_KEY, f"http://127.0.0.1:{free_port()}")
        with pytest.raises(weather_errors.WeatherUnavailableError):
            unreachable.fetch_forecast(SEOUL, ISSUE)
    assert "GET /getUltraSrtFcst?serviceKey=***&" in caplog.text
    assert not any(form in caplog.text for form in (DECODING_KEY, ENCODING_KEY, quote(DECODING_KEY)))


def test_the_error_of_an_unreachable_server_hides_its_address() -> None:
    with pytest.raises(weather_errors.WeatherUnavailableError, match="found ConnectionError") as caught:
        KmaApi(DECODING_KEY, f"http://127.0.0.1:{free_port()}").fetch_forecast(SEOUL, ISSUE)
    assert ENCODING_KEY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("key", [None, "", "  "])
def test_the_error_of_a_missing_key_explains_how_to_set_it(key: str | None) -> None:
    with pytest.raises(weather_errors.WeatherKeyError, match=r"found none.*set KMA_SERVICE_KEY in \.env"):
        KmaApi(key)


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(weather_errors.WeatherRequestError, match="begin with https://"):
        KmaApi(DECODING_KEY, "apis.data.go.kr")


@pytest.mark.parametrize(("nx", "ny"), [(0, 127), (150, 127), (60, 0), (60, 254)])
def test_a_place_outside_the_grid_is_refused(nx: int, ny: int) -> None:
    with pytest.raises(weather_errors.WeatherRequestError, match="expected nx of 1-149 and ny of 1-253"):
        Place(nx, ny)


def test_the_api_keeps_three_days(kma: KmaServer) -> None:
    with pytest.raises(weather_errors.WeatherRequestError, match="the last three days"):
        KmaApi(DECODING_KEY, kma.url).fetch_forecast(SEOUL, ISSUE - timedelta(days=4))


def test_an_issue_that_is_not_served_yet_is_asked_for_later(kma: KmaServer) -> None:
    kma.now = ISSUE + timedelta(minutes=14)
    assert type(fail(kma)) is weather_errors.WeatherNotReadyError
