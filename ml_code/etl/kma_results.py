"""The errors that the KMA API and its gateway return instead of a forecast.

Codes: the guide's list (00-99), and 23 and 29 from the portal's page of error codes. The guide shows no error's body.
The gateway returned XML even for JSON requests; since 2026 it returns JSON with the same fields. Its status is 200, 401
or 403. An error of the service has a header and no body. A few errors are one line of plain text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ml_code.etl.weather_errors import (
    WeatherAnswerError,
    WeatherBusyError,
    WeatherError,
    WeatherKeyError,
    WeatherNotReadyError,
    WeatherQuotaError,
    WeatherRequestError,
    WeatherUnavailableError,
)

GOOD = "00"
TEXT_LENGTH = 4_000
"""Searched characters: the body of an error has a few hundred."""

# A pattern finds the two fields: without an XML parser there are no entities to expand.
XML_CODE = re.compile(r"<(?:returnReasonCode|resultCode)>\s*(\d{1,4})\s*<")
JSON_CODES = (("response", "header", "resultCode"), ("OpenAPI_ServiceResponse", "cmmMsgHeader", "returnReasonCode"))


@dataclass(frozen=True, slots=True)
class Result:
    """A result code: its name in the guide, its error, and the advice."""

    name: str
    error: type[WeatherError]
    advice: str


LATER = "try again later"
CHECK_KEY = "compare KMA_SERVICE_KEY with the key on data.go.kr, and that the service 15084084 is applied for"
TOMORROW = "the count restarts at midnight KST; apply for more requests on data.go.kr if this comes often"
CHECK_REQUEST = "check place and time; the API keeps the last three days"
RESULTS = {
    "01": Result("APPLICATION_ERROR", WeatherUnavailableError, LATER),
    "02": Result("DB_ERROR", WeatherUnavailableError, LATER),
    "03": Result("NODATA_ERROR", WeatherNotReadyError, "it is published about 15 minutes after its time, or later"),
    "04": Result("HTTP_ERROR", WeatherUnavailableError, LATER),
    "05": Result("SERVICETIME_OUT", WeatherUnavailableError, LATER),
    "10": Result("INVALID_REQUEST_PARAMETER_ERROR", WeatherRequestError, CHECK_REQUEST),
    "11": Result("NO_MANDATORY_REQUEST_PARAMETERS_ERROR", WeatherRequestError, CHECK_REQUEST),
    "12": Result("NO_OPENAPI_SERVICE_ERROR", WeatherRequestError, "check the host of the connection kma_api"),
    "20": Result("SERVICE_ACCESS_DENIED_ERROR", WeatherKeyError, CHECK_KEY),
    "21": Result("TEMPORARILY_DISABLE_THE_SERVICEKEY_ERROR", WeatherKeyError, CHECK_KEY),
    "22": Result("LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR", WeatherQuotaError, TOMORROW),
    "23": Result("LIMITED_NUMBER_OF_SERVICE_REQUESTS_PER_SECOND_EXCEEDS_ERROR", WeatherBusyError, LATER),
    "29": Result("BLACKLIST_IP_ACCESS_ERROR", WeatherKeyError, "ask data.go.kr to unblock this machine's address"),
    "30": Result("SERVICE_KEY_IS_NOT_REGISTERED_ERROR", WeatherKeyError, CHECK_KEY),
    "31": Result("DEADLINE_HAS_EXPIRED_ERROR", WeatherKeyError, "prolong the key on data.go.kr"),
    "32": Result("UNREGISTERED_IP_ERROR", WeatherKeyError, "register this machine's address on data.go.kr"),
    "33": Result("UNSIGNED_CALL_ERROR", WeatherKeyError, CHECK_KEY),
    "99": Result("UNKNOWN_ERROR", WeatherUnavailableError, LATER),
}

PLAIN_TEXTS = {
    "API token quota exceeded": Result("API token quota exceeded", WeatherQuotaError, TOMORROW),
    "API rate limit exceeded": Result("API rate limit exceeded", WeatherBusyError, LATER),
    "Unauthorized": Result("Unauthorized", WeatherKeyError, CHECK_KEY),
    "Forbidden": Result("Forbidden", WeatherKeyError, CHECK_KEY),
    "API not found": Result("API not found", WeatherRequestError, "check the host of the connection kma_api"),
}
STATUSES = {
    401: Result("Unauthorized", WeatherKeyError, CHECK_KEY),
    403: Result("Forbidden", WeatherKeyError, CHECK_KEY),
    404: Result("Not Found", WeatherRequestError, "check the host of the connection kma_api"),
    429: Result("Too Many Requests", WeatherBusyError, LATER),
}


def find_failure(subject: str, status: int, text: str, retry_after_seconds: float | None) -> WeatherError | None:
    """Returns the error of a response, or None for a good one; the message holds no part of the response."""
    code = _find_code(text)
    if code == GOOD and status == 200:
        return None
    found, result = _explain(status, code, text)
    expected = f"expected status 200 and result {GOOD}"
    return result.error(f"{subject}: found {found}, {expected}; {result.advice}", retry_after_seconds)


def _explain(status: int, code: str | None, text: str) -> tuple[str, Result]:
    """Explains a response by its code, else by its text, else by its status."""
    if code is not None and code != GOOD:
        result = RESULTS.get(code, Result("of no known name", WeatherUnavailableError, LATER))
        return f"result {code} {result.name} (status {status})", result
    if line := next((name for name in PLAIN_TEXTS if text[:200].strip().startswith(name)), None):
        return f"the text {line!r} (status {status})", PLAIN_TEXTS[line]
    if status in STATUSES:
        return f"status {status} {STATUSES[status].name}", STATUSES[status]
    if status >= 500:
        return f"status {status}", Result("", WeatherUnavailableError, LATER)
    kind = "HTML" if "<html" in text[:TEXT_LENGTH].lower() else "no result code"
    return f"status {status} with {kind}", Result("", WeatherAnswerError, LATER)


def _find_code(text: str) -> str | None:
    """Finds the result code in JSON or XML, as two digits: the guide's example has 0, its table 00."""
    if text.lstrip().startswith("<"):
        match = XML_CODE.search(text[:TEXT_LENGTH])
        return match[1].lstrip("0").zfill(2) if match else None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return next((code for path in JSON_CODES if (code := _follow(parsed, path))), None)


def _follow(parsed: object, path: tuple[str, ...]) -> str | None:
    for name in path:
        parsed = parsed.get(name) if isinstance(parsed, dict) else None
    text = str(parsed)
    return text.lstrip("0").zfill(2) if text.isdecimal() and len(text) <= 4 else None
