"""What a task is told of its run's trace."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ml_code.traces import CURRENT, LABELS, Trace, join, make_headers

PLUGINS = Path(__file__).parents[3] / "plugins"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(PLUGINS))
    yield importlib.import_module("trace_ids")
    join(None, {})


def start(plugin: ModuleType, carrier: dict[str, str] | None) -> None:
    task = SimpleNamespace(dag_id="simple_train", run_id="manual__1", task_id="train", context_carrier=carrier)
    plugin.on_task_instance_running(previous_state=None, task_instance=task)


def test_a_task_s_log_and_its_requests_carry_the_trace_of_its_run(
    plugin: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start(plugin, {"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert [record.message for record in caplog.records] == [f"trace_id={TRACE}"]
    assert CURRENT.get() == Trace(TRACE, SPAN)
    assert make_headers() == {"traceparent": f"00-{TRACE}-{SPAN}-00"}
    assert LABELS.get() == {
        "airflow.dag_id": "simple_train",
        "airflow.run_id": "manual__1",
        "airflow.task_id": "train",
    }


@pytest.mark.parametrize("carrier", [None, {}, {"traceparent": "nonsense"}, {"traceparent": "\N{HANGUL SYLLABLE GA}"}])
def test_a_task_without_a_trace_does_not_keep_that_of_the_one_before(
    plugin: ModuleType, caplog: pytest.LogCaptureFixture, carrier: dict[str, str] | None
) -> None:
    start(plugin, {"traceparent": f"00-{TRACE}-{SPAN}-00"})
    caplog.clear()
    caplog.set_level(logging.INFO)
    start(plugin, carrier)
    assert caplog.records == []
    assert make_headers() == {}


def test_airflow_calls_the_module(plugin: ModuleType) -> None:
    assert list(plugin.TraceIds.listeners) == [plugin]
