"""What a worker on another host looks at before it takes tasks, on real ports with a broker that speaks RESP."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlops.worker.checks import check_address, check_stack, check_told, examine
from mlops.worker.release import Release
from mlops.worker.settings import Place
from tests.ports import free_port

RELEASE = Release("0.4.0", "0123456789ab", "ba9876543210")
LATER = Release("0.5.0", "aaaaaaaaaaaa", "ba9876543210")


class Broker(socketserver.StreamRequestHandler):
    """A broker with the password `right` that knows one key."""

    published = RELEASE.text

    def handle(self) -> None:
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().decode())
            self.wfile.write(self.answer(*words))

    def answer(self, command: str, *words: str) -> bytes:
        match command.upper():
            case "AUTH":
                return b"+OK\r\n" if words[-1] == "right" else b"-WRONGPASS invalid username-password pair\r\n"
            case "GET":
                return f"${len(self.published)}\r\n{self.published}\r\n".encode() if self.published else b"$-1\r\n"
        return b"+OK\r\n"


class Api(BaseHTTPRequestHandler):
    """The execution API with a clock of its own."""

    ahead_seconds = 0

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", formatdate(time.time() + self.ahead_seconds, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(server: socketserver.BaseServer) -> Iterator[int]:
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])  # type: ignore[index]
        server.shutdown()


@contextmanager
def run_stack(published: str = RELEASE.text, ahead_seconds: int = 0, password: str = "right") -> Iterator[Place]:
    broker = type("Broker", (Broker,), {"published": published})
    api = type("Api", (Api,), {"ahead_seconds": ahead_seconds})
    with (
        serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), broker)) as broker_port,
        serve(ThreadingHTTPServer(("127.0.0.1", 0), api)) as api_port,
    ):
        yield Place(
            RELEASE.text,
            RELEASE,
            f"redis://:{password}@127.0.0.1:{broker_port}/0",
            f"http://127.0.0.1:{api_port}/execution/",
            {"broker": ("127.0.0.1", broker_port), "execution API": ("127.0.0.1", api_port)},
        )


def find_failures(place: Place) -> dict[str, str]:
    return {finding.subject: finding.found for finding in examine(place) if finding.state == "failure"}


def test_a_worker_of_the_same_release_finds_no_failure() -> None:
    with run_stack() as place:
        findings = list(examine(place))
    assert {finding.state for finding in findings} == {"ok"}
    assert {finding.subject for finding in findings} == {
        "image", "broker", "execution API", "broker login", "release", "clock",
    }  # fmt: skip


def test_a_stack_of_another_release_is_named() -> None:
    with run_stack(published=LATER.text) as place:
        assert find_failures(place) == {
            "release": f"this image is {RELEASE.text} (release 0.4.0), the stack runs {LATER.text}"
        }


@pytest.mark.parametrize("published", ["", "x" * 9])
def test_a_stack_that_says_no_release_is_refused(published: str) -> None:
    with run_stack(published=published) as place:
        assert find_failures(place) == {"release": "the broker does not say which release the stack runs"}


def test_a_wrong_password_of_the_broker_is_named_and_not_shown() -> None:
    with run_stack(password="wrong-password") as place:
        failures = find_failures(place)
    assert failures == {"broker login": "the broker refuses BROKER_PASSWORD of .env"}


@pytest.mark.parametrize("ahead_seconds", [360, -360])
def test_a_clock_six_minutes_off_is_a_failure(ahead_seconds: int) -> None:
    with run_stack(ahead_seconds=ahead_seconds) as place:
        failures = find_failures(place)
    assert set(failures) == {"clock"}
    assert failures["clock"].startswith(("360 s from that of the stack", "359 s", "361 s"))


def test_an_image_of_another_release_than_its_settings_is_named() -> None:
    finding = check_told(RELEASE.text, LATER)
    assert finding.state == "failure"
    assert finding.found == f"{LATER.text} (release 0.5.0) instead of {RELEASE.text}, of which .env is"


def test_settings_without_a_release_are_refused() -> None:
    assert check_told("latest", RELEASE).found == "WORKER_RELEASE 'latest' is not a release"


def test_a_catalog_that_has_changed_on_the_stack_is_told() -> None:
    changed = Release(RELEASE.version, RELEASE.code, "ffffffffffff")
    assert "another catalog of datasets" in check_stack(changed.text, RELEASE).found


def test_a_name_that_does_not_resolve_is_told_apart_from_a_closed_port() -> None:
    assert check_address("broker", "no-such-host.invalid", 6379).found == (
        "the name no-such-host.invalid does not resolve on this host"
    )
    port = free_port()
    assert check_address("broker", "127.0.0.1", port).found.startswith(f"no answer at 127.0.0.1:{port}")


def test_nothing_that_listens_is_one_failure_each_and_no_hang() -> None:
    port = free_port()
    place = Place(
        RELEASE.text, RELEASE, f"redis://:right@127.0.0.1:{port}/0", f"http://127.0.0.1:{port}/execution/",
        {"broker": ("127.0.0.1", port)},
    )  # fmt: skip
    assert set(find_failures(place)) == {"broker", "broker login", "clock"}
