"""A server on loopback that answers as the KMA's `getUltraSrtFcst` does, with a clock that a test sets.

"Guide" is the Open API guide of the service 단기예보 조회서비스 (data set 15084084 of data.go.kr): its request table,
its example of an answer (XML only, the JSON has the same fields), its tables of codes, of issues and of errors. It
shows no body of an error; where the ones below are from stands beside each.

>>> with run_kma_server(now=datetime(2026, 11, 21, 12, 50, tzinfo=KST)) as kma:
...     requests.get(f"{kma.url}/getUltraSrtFcst", params={...})
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ml_code.etl.kma_document import KST

DECODING_KEY = "Zm9yLXRlc3Rz+L29ubHk/bm90IGEga2V5+/aXQgb3BlbnMgbm90aGluZw=="
"""Shaped as data.go.kr's: base64 with the three characters that a query must escape."""

ENCODING_KEY = "Zm9yLXRlc3Rz%2BL29ubHk%2Fbm90IGEga2V5%2B%2FaXQgb3BlbnMgbm90aGluZw%3D%3D"

VALUES = {
    "LGT": "0",
    "PTY": "1",
    "RN1": "1.0mm",
    "SKY": "4",
    "T1H": "7",
    "REH": "85",
    "UUU": "-1.2",
    "VVV": "0.8",
    "VEC": "124",
    "WSD": "1.4",
}
"""Guide, table "코드값 정보", 초단기예보: the ten categories; values as in the guide's sections on codes and ranges."""

HOURS = 6
"""Guide, table of issues: each issue has six hours, so an answer has 60 rows (its example says totalCount 60)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says instead of a forecast."""

    body: str
    status: int = 200
    content_type: str = "application/json;charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0


def service_error(code: str, message: str) -> Answer:
    """The service's own: a header and no body.

    Not in the guide. Reported for this service with 03 NO_DATA and 10 in public repositories; codes as in the guide.
    """
    return Answer(json.dumps({"response": {"header": {"resultCode": code, "resultMsg": message}}}))


def gateway_xml(code: str, name: str, status: int = 200) -> Answer:
    """The gateway's error as XML, even if JSON was requested.

    Not in the guide. As in https://life.photogrammer.me/openapi-servicekey-encoding-problem, for a key encoded twice.
    """
    body = (
        "<OpenAPI_ServiceResponse>\n\t<cmmMsgHeader>\n\t\t<errMsg>SERVICE ERROR</errMsg>\n"
        f"\t\t<returnAuthMsg>{name}</returnAuthMsg>\n\t\t<returnReasonCode>{code}</returnReasonCode>\n"
        "\t</cmmMsgHeader>\n</OpenAPI_ServiceResponse>"
    )
    return Answer(body, status, "text/xml;charset=UTF-8")


def gateway_json(code: str, name: str, status: int = 403) -> Answer:
    """The gateway's as JSON. Not in the guide; reported in public repositories since 2026, with 401 and 403."""
    header = {"errMsg": name, "returnAuthMsg": name, "returnReasonCode": code}
    return Answer(json.dumps({"OpenAPI_ServiceResponse": {"cmmMsgHeader": header}}), status)


def plain(text: str, status: int, **headers: str) -> Answer:
    """One line. The texts are in the portal's table of error messages (data.go.kr, 15021103); statuses by report."""
    return Answer(text, status, "text/plain", {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class KmaServer:
    """The running server: a test sets `now`, `values` and the next `answers`, and reads `queries`."""

    url: str
    now: datetime
    values: dict[str, str | None] = field(default_factory=lambda: dict(VALUES))
    answers: list[Answer] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    def answer(self, query: str) -> Answer:
        self.queries.append(query)
        if self.answers:
            return self.answers.pop(0)
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if asked.get("serviceKey") != DECODING_KEY:
            return gateway_xml("30", "SERVICE_KEY_IS_NOT_REGISTERED_ERROR")
        return self.forecast(asked)

    def forecast(self, asked: Mapping[str, str]) -> Answer:
        if {"numOfRows", "pageNo", "base_date", "base_time", "nx", "ny"} - asked.keys():
            return service_error("11", "NO_MANDATORY_REQUEST_PARAMETERS_ERROR")
        if asked.get("dataType") != "JSON":
            return Answer("<response/>", content_type="text/xml")
        issued_at = datetime.strptime(asked["base_date"] + asked["base_time"], "%Y%m%d%H%M").replace(tzinfo=KST)
        if self.now - issued_at > timedelta(days=3):
            return service_error("10", "최근 3일 간의 자료만 제공합니다.")
        # Guide, table of issues: base times at half past, served from a quarter to on.
        if issued_at.minute != 30 or self.now < issued_at + timedelta(minutes=15):
            return service_error("03", "NO_DATA")
        return Answer(json.dumps(self.page(asked, issued_at), ensure_ascii=False))

    def page(self, asked: Mapping[str, str], issued_at: datetime) -> dict[str, Any]:
        """One page as in the guide's example; scalars of JSON as public repositories report them."""
        size, number = int(asked["numOfRows"]), int(asked["pageNo"])
        rows = self.rows(issued_at, int(asked["nx"]), int(asked["ny"]))
        body = {
            "dataType": "JSON",
            "items": {"item": rows[(number - 1) * size : number * size]},
            "pageNo": number,
            "numOfRows": size,
            "totalCount": len(rows),
        }
        return {"response": {"header": {"resultCode": "00", "resultMsg": "NORMAL_SERVICE"}, "body": body}}

    def rows(self, issued_at: datetime, nx: int, ny: int) -> list[dict[str, Any]]:
        first = issued_at.replace(minute=0)
        times = [first + timedelta(hours=hour + 1) for hour in range(HOURS)]
        return [
            {
                "baseDate": f"{issued_at:%Y%m%d}",
                "baseTime": f"{issued_at:%H%M}",
                "category": category,
                "fcstDate": f"{time:%Y%m%d}",
                "fcstTime": f"{time:%H%M}",
                "fcstValue": value,
                "nx": nx,
                "ny": ny,
            }
            for category, value in self.values.items()
            for time in times
        ]


@contextmanager
def run_kma_server(now: datetime) -> Iterator[KmaServer]:
    """Runs the server on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            known = parts.path == "/getUltraSrtFcst"
            send(self, kma.answer(parts.query) if known else plain("API not found", 404))

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kma = KmaServer(f"http://127.0.0.1:{server.server_port}", now)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield kma
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    time.sleep(answer.delay_seconds)
    content = answer.body.encode()
    try:
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.content_type)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)
    except (BrokenPipeError, ConnectionResetError):
        # The client that waits no longer is what a timeout is.
        return
