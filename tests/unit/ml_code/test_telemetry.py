"""Spans: what is sent, under which trace, and that nobody waits for a receiver."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ml_code import telemetry
from ml_code.errors import SettingsError
from ml_code.settings import TraceReceiver, read_trace_receiver
from ml_code.telemetry import Tracing, span
from ml_code.traces import CURRENT, Trace, join, make_headers

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NOWHERE = TraceReceiver("http://127.0.0.1:9/v1/traces")


class Receiver:
    """Keeps the spans that it is sent, with what its resource says."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.spans: list[dict[str, Any]] = []
        self.services: set[str] = set()

    def __call__(self, body: bytes) -> int:
        for group in json.loads(body)["resourceSpans"]:
            found = {one["key"]: one["value"]["stringValue"] for one in group["resource"]["attributes"]}
            self.services.add(found["service.name"])
            self.spans += group["scopeSpans"][0]["spans"]
        return self.status

    def find(self, name: str) -> dict[str, Any]:
        [found] = [one for one in self.spans if one["name"] == name]
        return found


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def tracing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracing]:
    """The tracing of this process, whose spans the receiver gets."""
    tracing = Tracing(NOWHERE, send=receiver)
    monkeypatch.setattr(telemetry, "_find_tracing", lambda: tracing)
    yield tracing
    tracing.close()
    join(None, {})


@pytest.mark.usefixtures("tracing")
def test_steps_within_a_step_are_below_it_and_in_the_trace_of_the_run(receiver: Receiver) -> None:
    join(f"00-{TRACE}-{SPAN}-00", {"airflow.dag_id": "simple_train"})
    with span("train"):
        sent = make_headers()["traceparent"]
        with span("fit"):
            pass
    train, fit = receiver.find("train"), receiver.find("fit")
    assert {train["traceId"], fit["traceId"]} == {TRACE}
    assert ("parentSpanId" in train, fit["parentSpanId"]) == (False, train["spanId"])
    assert sent == f"00-{TRACE}-{train['spanId']}-01"
    assert train["attributes"] == [{"key": "airflow.dag_id", "value": {"stringValue": "simple_train"}}]
    assert fit["attributes"] == []
    assert int(train["startTimeUnixNano"]) <= int(fit["startTimeUnixNano"]) <= int(fit["endTimeUnixNano"])
    assert CURRENT.get() == Trace(TRACE, SPAN)


@pytest.mark.usefixtures("tracing")
def test_a_step_of_a_recorded_run_is_below_its_span(receiver: Receiver) -> None:
    join(f"00-{TRACE}-{SPAN}-01", {})
    with span("train"):
        pass
    train = receiver.find("train")
    assert (train["traceId"], train["parentSpanId"]) == (TRACE, SPAN)


@pytest.mark.usefixtures("tracing")
def test_a_step_outside_of_a_run_begins_a_trace(receiver: Receiver) -> None:
    for name in ("first", "second"):
        with span(name):
            pass
    first, second = receiver.find("first"), receiver.find("second")
    assert len({first["traceId"], second["traceId"], "0" * 32}) == 3
    assert CURRENT.get() is None


@pytest.mark.usefixtures("tracing")
def test_a_step_that_fails_says_so_without_the_text_of_its_error(receiver: Receiver) -> None:
    with pytest.raises(ValueError, match="a secret"), span("train"):
        raise ValueError("a secret")
    assert receiver.find("train")["status"] == {"code": 2, "message": "ValueError"}
    assert "secret" not in json.dumps(receiver.spans)


def test_attributes_are_written_as_their_kinds(receiver: Receiver, tracing: Tracing) -> None:
    values = {"text": "a", "count": 2**40, "share": 0.5, "is_it": True, "names": ["a", "b"]}
    tracing.start("one", None, attributes=values).end()
    tracing.flush()
    found = {one["key"]: one["value"] for one in receiver.find("one")["attributes"]}
    assert found == {
        "text": {"stringValue": "a"},
        "count": {"intValue": str(2**40)},
        "share": {"doubleValue": 0.5},
        "is_it": {"boolValue": True},
        "names": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}},
    }
    assert receiver.services == {"mlops-loop"}


@pytest.mark.parametrize(("share", "count"), [("0", 0), ("1", 20)])
def test_the_sampler_of_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, share: str, count: int
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
    tracing = Tracing(NOWHERE, send=receiver)
    for number in range(1, 21):
        tracing.start("one", Trace(f"{number:032x}", SPAN), is_root=True).end()
        tracing.start("other", Trace(f"{number:032x}", SPAN, is_sampled=False)).end()
    tracing.close()
    assert [one["name"] for one in receiver.spans] == ["one"] * count


def test_a_receiver_that_refuses_is_told_once_a_minute_with_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    tracing = Tracing(NOWHERE, send=Receiver(status=403))
    for _ in range(3):
        tracing.start("one", None).end()
        tracing.flush()
    tracing.close()
    assert [record.message for record in caplog.records] == [
        "traces: found status 403, expected the receiver to take spans; 1 lost"
    ]


def test_a_receiver_that_is_away_costs_no_step_its_result(caplog: pytest.LogCaptureFixture) -> None:
    tracing = Tracing(NOWHERE)
    tracing.start("one", None).end()
    tracing.flush(30)
    tracing.close()
    assert "found ConnectError" in caplog.text


def test_nobody_waits_long_for_a_receiver_that_hangs() -> None:
    is_over = threading.Event()
    tracing = Tracing(NOWHERE, send=lambda _: 200 if is_over.wait(60) else 500)
    began = time.monotonic()
    for _ in range(5000):  # more than wait for their turn
        tracing.start("one", None).end()
    tracing.flush(0.1)
    tracing.close(0.1)
    assert time.monotonic() - began < 30
    is_over.set()


def test_without_a_receiver_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys; from ml_code.telemetry import open_tracing, span\n"
        "with span('train'): assert open_tracing() is None\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={}, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_receiver_is_read_from_the_names_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_trace_receiver() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://mlflow:5000/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-mlflow-experiment-id=7, authorization=Basic%20YTpi=,broken")
    found = read_trace_receiver()
    assert found == TraceReceiver(
        "http://mlflow:5000/v1/traces", {"x-mlflow-experiment-id": "7", "authorization": "Basic YTpi="}, 10
    )
    assert "YTpi" not in repr(found)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/own")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5")
    assert read_trace_receiver() == TraceReceiver("http://collector:4318/own", found.headers if found else {}, 2.5)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_TIMEOUT 'soon'"):
        read_trace_receiver()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert read_trace_receiver() is None


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("ENDPOINT", "http://kim:hunter2@collector:4318", "found a user or a password in it"),
        ("TRACES_ENDPOINT", "https://hunter2@collector/v1/traces", "found a user or a password in it"),
        ("ENDPOINT", "http://hunter2@[::bad", "found an address that cannot be read"),
        ("ENDPOINT", "collector:4318", "found an address that cannot be read"),
        ("ENDPOINT", "http://collector:99999", "found an address that cannot be read"),
        *[("TIMEOUT", text, f"OTEL_EXPORTER_OTLP_TIMEOUT '{text}'") for text in ("inf", "nan", "-1", "0")],
    ],
)
def test_a_receiver_that_cannot_be_used_or_would_be_logged_with_its_password_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, found: str
) -> None:
    """httpx logs each address that it asks."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    with pytest.raises(SettingsError, match=found) as refused:
        read_trace_receiver()
    assert "hunter2" not in str(refused.value)
