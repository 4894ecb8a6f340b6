"""The checks of a worker on another host, before its start and by `mlops doctor`: release, addresses, broker, clock."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import redis

from mlops.checks.findings import Finding, check_clock, read_date
from mlops.worker.release import Release, parse_release
from mlops.worker.settings import Place, read_broker_url, read_release

SECONDS = 10.0
"""Longest wait for a connection, and for an answer of the broker."""

API_SECONDS = 60.0
"""The same for the execution API: its first answer takes long on a busy machine."""

KEY = "mlops-release"
"""What runs on the stack's host, in the broker: workers can read it there before they take a task."""

KEPT_SECONDS = 120
PAUSE_SECONDS = 30.0

AGAIN = "run `mlops worker env` on the host of the stack, and put what it prints into .env here"
LOAD = "load the image of the release that the stack runs (docs/scaling.md)"


def examine(place: Place) -> Iterator[Finding]:
    """Looks at everything that a task would fail of later; each look has a limit of time."""
    yield check_told(place.told, place.own)
    for name, (host, port) in place.addresses.items():
        yield check_address(name, host, port)
    yield from _examine_broker(place)
    yield _examine_clock(place)


def publish() -> None:
    """Tells the broker the release of this container, for two minutes."""
    with _open(read_broker_url()) as client:
        client.set(KEY, read_release().text, ex=KEPT_SECONDS)


def check_told(told: str, own: Release) -> Finding:
    """Judges the release of this image against that of the settings."""
    expected = parse_release(told)
    if expected is None:
        return Finding("image", "failure", f"WORKER_RELEASE {told[:60]!r} is not a release", AGAIN)
    if difference := expected.explain(own):
        found = f"{own.text} ({difference}) instead of {told}, of which .env is"
        return Finding("image", "failure", found, f"{LOAD}, or {AGAIN}")
    return Finding("image", "ok", own.text)


def check_stack(published: str, own: Release) -> Finding:
    """Judges the release of this image against that which the stack runs now."""
    running = parse_release(published)
    if running is None:
        advice = 'start the stack by `make up PROFILE="celery hosts"`, and wait for its scheduler'
        return Finding("release", "failure", "the broker does not say which release the stack runs", advice)
    if difference := running.explain(own):
        found = f"this image is {own.text} ({difference}), the stack runs {published}"
        return Finding("release", "failure", found, f"{LOAD}, then {AGAIN}")
    return Finding("release", "ok", "the one of the stack")


def check_address(name: str, host: str, port: int) -> Finding:
    """Judges whether a name resolves here, and whether a program listens there."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Finding(name, "failure", f"the name {host} does not resolve on this host", AGAIN)
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError as error:
        advice = "compare STACK_ADDRESS here with WORKERS_ADDRESS there, and look at the firewall between the hosts"
        return Finding(name, "failure", f"no answer at {host}:{port} ({error.strerror or 'in time'})", advice)
    return Finding(name, "ok", f"answers at {host}:{port}")


def _examine_broker(place: Place) -> Iterator[Finding]:
    """Logs in, and asks for the release of the stack."""
    try:
        with _open(place.broker_url) as client:
            published = client.get(KEY) or b""
    except redis.exceptions.AuthenticationError:
        yield Finding("broker login", "failure", "the broker refuses BROKER_PASSWORD of .env", AGAIN)
        return
    except (redis.exceptions.RedisError, OSError) as error:
        yield Finding("broker login", "failure", f"no answer ({type(error).__name__})", "see the lines above")
        return
    yield Finding("broker login", "ok", "accepted")
    yield check_stack(bytes(published).decode(errors="replace"), place.own)


def _examine_clock(place: Place) -> Finding:
    try:
        answer = httpx.get(f"{place.api_url.rstrip('/')}/health", timeout=API_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return Finding("clock", "failure", "the execution API gives no time to compare with", "see the lines above")
    date = read_date(answer.headers.get("Date", ""))
    if date is None:
        return Finding("clock", "warning", "the execution API gives no time to compare with", "compare it by hand")
    return check_clock("the stack", date, datetime.now(UTC))


def _open(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, protocol=2, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
