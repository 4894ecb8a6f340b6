"""The ultra-short-term forecast of Korea's weather service (KMA): the client of its public API.

Source: the Open API guide (활용가이드) of the service 단기예보 조회서비스, data set 15084084 of data.go.kr.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import requests

from ml_code.data.downloads import call_within
from ml_code.errors import SourceError
from ml_code.etl import kma_results
from ml_code.etl.kma_document import KST, Place, answer_error, count_rows, read_items
from ml_code.etl.weather_errors import (
    WeatherError,
    WeatherKeyError,
    WeatherNotReadyError,
    WeatherRequestError,
    WeatherTimeoutError,
    WeatherUnavailableError,
)

BASE_URL = "https://apis.data.go.kr/1360000/VilageFcstInfoService_2.0"
PUBLICATION_DELAY = timedelta(minutes=15)
"""Time from the issue (half past every hour) to its publication (the guide's table of issues)."""

PAGE_ROWS = 1000
MAX_BYTES = 5_000_000
DOWNLOAD_SECONDS = 90.0
"""Longest time of one page, however steadily its bytes come; a task has five minutes."""
TIMEOUT_SECONDS = (5.0, 30.0)
"""To connect, and between two pieces of the response."""

HOW_TO_SET_THE_KEY = (
    "get one at https://www.data.go.kr/data/15084084/openapi.do and set KMA_SERVICE_KEY in .env, then `make up`; "
    "or set it as the password of the Airflow connection kma_api"
)


def find_issue(now: datetime) -> datetime:
    """The newest published issue at a time, in KST.

    >>> find_issue(datetime(2026, 11, 20, 15, 44, tzinfo=UTC)).isoformat()
    '2026-11-20T23:30:00+09:00'

    Raises:
        WeatherRequestError: the time has no zone, so its meaning depends on the host.
    """
    if now.tzinfo is None:
        raise WeatherRequestError(f"time {now.isoformat()}: found no zone, expected one; use datetime.now(UTC)")
    served = now.astimezone(KST) - PUBLICATION_DELAY
    hour = served if served.minute >= 30 else served - timedelta(hours=1)
    return hour.replace(minute=30, second=0, microsecond=0)


class KmaApi:
    """The API with one key, in the portal's "encoding" or "decoding" form.

    >>> KmaApi(key).fetch_forecast(Place(60, 127), find_issue(datetime.now(UTC)))
    b'[{"response":{"header":{"resultCode":"00",...'
    """

    def __init__(
        self,
        key: str | None,
        base_url: str | None = None,
        *,
        page_rows: int = PAGE_ROWS,
        timeout_seconds: tuple[float, float] = TIMEOUT_SECONDS,
    ) -> None:
        """Checks the settings.

        Raises:
            WeatherKeyError: there is no key.
            WeatherRequestError: the address does not begin with https:// or http://.
        """
        if not (key or "").strip():
            raise WeatherKeyError(f"KMA service key: found none, expected one; {HOW_TO_SET_THE_KEY}")
        # Only the encoding form has percent signs; the API does not know a key that is encoded twice.
        self._key = unquote((key or "").strip())
        self._url = f"{(base_url or BASE_URL).rstrip('/')}/getUltraSrtFcst"
        if not self._url.startswith(("https://", "http://")):
            raise WeatherRequestError(
                f"KMA address: expected it to begin with https://, such as {BASE_URL}; correct it"
            )
        self._page_rows = page_rows
        self._timeout_seconds = timeout_seconds

    def fetch_forecast(self, place: Place, issued_at: datetime) -> bytes:
        """Returns all original pages of one issue as one JSON array, checked for completeness.

        Raises:
            WeatherError: the API refuses or is not reached.
        """
        subject = f"KMA forecast of {issued_at:%Y-%m-%d %H:%M} KST for {place}"
        pages: list[str] = []
        rows, total_rows = 0, 1
        while rows < total_rows:
            text = self._fetch_page(subject, place, issued_at, len(pages) + 1)
            page_rows, total_rows = count_rows(subject, text)
            if not total_rows:
                raise WeatherNotReadyError(f"{subject}: found no rows, expected some; try again in some minutes")
            if not page_rows:
                raise answer_error(subject, f"{rows} rows and an empty page", f"the {total_rows} of its totalCount")
            rows += page_rows
            pages.append(text.strip())
        document = ("[" + ",\n".join(pages) + "]").encode()
        found = {(item.place, item.issued_at) for item in read_items(document)}
        if found != {(place, issued_at)}:
            raise answer_error(subject, "rows of another place or issue", "the requested ones")
        return document

    def _fetch_page(self, subject: str, place: Place, issued_at: datetime, number: int) -> str:
        """Fetches the text of one page, which the API reports as good."""
        parameters = {
            "serviceKey": self._key,
            "numOfRows": self._page_rows,
            "pageNo": number,
            "dataType": "JSON",
            "base_date": f"{issued_at:%Y%m%d}",
            "base_time": f"{issued_at:%H%M}",
            "nx": place.nx,
            "ny": place.ny,
        }
        status, headers, content = self._get(subject, parameters)
        text = content.decode("utf-8-sig", errors="replace")
        wait_seconds = read_retry_after(headers, datetime.now(UTC))
        if failure := kma_results.find_failure(subject, status, text, wait_seconds):
            raise failure
        return text

    def _get(self, subject: str, parameters: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        failure: WeatherError
        try:
            return call_within(DOWNLOAD_SECONDS, subject, lambda: self._download(parameters))
        except SourceError:
            failure = WeatherTimeoutError(
                f"{subject}: found no whole answer within {DOWNLOAD_SECONDS:g} s, expected one; try again later"
            )
        except requests.Timeout:
            failure = WeatherTimeoutError(
                f"{subject}: found no answer within {self._timeout_seconds[1]:g} s, expected one; try again later"
            )
        except (requests.RequestException, OSError) as error:
            failure = WeatherUnavailableError(
                f"{subject}: found {type(error).__name__}, expected an answer; "
                "is the internet, or the proxy of HTTPS_PROXY, reached from here?"
            )
        # Raised outside of the handler: message and traceback of the cause hold the address with the key.
        raise failure

    def _download(self, parameters: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        # Redirects are not followed: they would send the key to another host.
        # The filter is set here, in the thread that may outlive its caller.
        with (
            _key_hidden_from_logs(self._key),
            requests.get(
                self._url, params=parameters, timeout=self._timeout_seconds, stream=True, allow_redirects=False
            ) as answer,
        ):
            content = b""
            for piece in answer.iter_content(65_536):
                content += piece
                if len(content) > MAX_BYTES:
                    break
            return answer.status_code, answer.headers, content


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by the header Retry-After, a number or a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())


class _HideKey(logging.Filter):
    def __init__(self, key: str) -> None:
        super().__init__()
        self._forms = sorted({key, quote(key), quote(key, safe=""), quote_plus(key)}, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        for form in self._forms:
            message = message.replace(form, "***")
        record.msg, record.args = message, None
        return True


@contextmanager
def _key_hidden_from_logs(key: str) -> Iterator[None]:
    """Hides the key in the DEBUG logs of urllib3, which show path and query of each request."""
    logger, hide = logging.getLogger("urllib3.connectionpool"), _HideKey(key)
    logger.addFilter(hide)
    try:
        yield
    finally:
        logger.removeFilter(hide)
