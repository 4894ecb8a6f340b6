from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import Value
from serving.answering.entries import Entry
from serving.answering.served import ServedModel
from serving.answering.shadow import Shadows
from serving.limits import SHADOW_BYTES, SHADOW_ROWS
from tests.unit.serving.log_fakes import make_logged, make_served

ROW = [5.1, 3.5, 1.4, 0.2]


@dataclass
class Table:
    """A replica's shadows without their thread, which a test has predict."""

    champion: ServedModel = field(default_factory=make_served)
    shadow: ServedModel | None = field(default_factory=lambda: make_shadow("8"))
    kept: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shadows = Shadows(lambda _: self.shadow, self.kept.append)

    def note(self, rows: Sequence[Sequence[Value]] = (ROW,), **further: Any) -> Entry:
        entry = tuple(make_logged(self.champion, rows)._replace(**further))
        self.shadows.note(entry)
        return entry

    def dropped(self) -> dict[str, int]:
        dropped: dict[str, int] = self.shadows.list_counts()["iris"]["dropped"]
        return {reason: rows for reason, rows in dropped.items() if rows}


def make_shadow(version: str) -> ServedModel:
    served = make_served("shadow")
    return replace(served, identity=replace(served.identity, version=version))


def test_the_prediction_has_the_id_and_the_user_of_the_request_that_was_answered() -> None:
    table = Table()
    answered = table.note(user=b"ada", client_id=b"order-7")
    [predicted] = table.shadows.predict_waiting()
    assert predicted[0] is table.shadow
    assert predicted[1:5] == answered[1:5]
    assert predicted[7] == answered[7]
    assert predicted[8].values == table.shadow.model.predict_rows([ROW]).values
    assert table.shadows.list_counts()["iris"] | {"dropped": {}} == {"version": "8", "rows": 1, "dropped": {}}


def test_a_model_without_a_shadow_costs_nothing_and_counts_nothing() -> None:
    table = Table(shadow=None)
    table.note()
    assert table.shadows.predict_waiting() == []
    assert table.shadows.list_counts() == {}


@pytest.mark.parametrize("traffic", ["replay", "asked"])
def test_only_live_requests_are_predicted(traffic: str) -> None:
    table = Table()
    table.note(traffic=traffic)
    assert table.shadows.predict_waiting() == []


def test_what_waits_is_bounded_by_rows_and_the_rest_is_counted() -> None:
    table = Table()
    table.note([ROW] * (SHADOW_ROWS - 1))
    table.note([ROW] * 2)
    table.note()
    assert table.dropped() == {"full": 2}
    assert [len(entry[7]) for entry in table.shadows.predict_waiting()] == [SHADOW_ROWS - 1, 1]
    table.note([ROW] * 2)
    assert table.dropped() == {"full": 2}


def test_what_waits_is_bounded_by_bytes() -> None:
    table = Table()
    table.note(size_bytes=SHADOW_BYTES)
    table.note(size_bytes=1)
    assert table.dropped() == {"full": 1}


def test_rows_of_a_shadow_that_was_withdrawn_meanwhile_are_not_predicted() -> None:
    table = Table()
    table.note()
    table.shadow = make_shadow("9")
    assert table.shadows.predict_waiting() == []
    assert table.dropped() == {"withdrawn": 1}


def test_a_shadow_that_fails_is_counted_and_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    predict = type(table.shadow.model).predict_rows
    failures = iter([RuntimeError("no such operator")])

    def fail_once(model: Any, rows: Any) -> Prediction:
        for error in failures:
            raise error
        return predict(model, rows)

    monkeypatch.setattr(type(table.shadow.model), "predict_rows", fail_once)
    table.note([ROW] * 3)
    table.note()
    assert len(table.shadows.predict_waiting()) == 1
    assert table.dropped() == {"failed": 3}


def test_a_shadow_that_reads_other_features_predicts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    monkeypatch.setattr(ServedModel, "reads_like", lambda *_: False)
    table.note()
    assert table.shadows.predict_waiting() == []
    assert table.dropped() == {"misfit": 1}


def test_another_version_counts_from_zero() -> None:
    table = Table()
    table.note()
    table.shadows.predict_waiting()
    table.shadow = make_shadow("9")
    table.note()
    assert table.shadows.list_counts()["iris"]["version"] == "9"
    assert table.shadows.list_counts()["iris"]["rows"] == 0


def test_the_figures_name_model_version_and_reason() -> None:
    table = Table()
    table.note()
    table.note([ROW] * (SHADOW_ROWS + 1))
    table.shadows.predict_waiting()
    registry = CollectorRegistry()
    registry.register(table.shadows)
    labels = {"model": "iris", "version": "8"}
    assert registry.get_sample_value("mlops_shadow_rows_total", labels) == 1
    full = registry.get_sample_value("mlops_shadow_dropped_rows_total", labels | {"reason": "full"})
    assert full == SHADOW_ROWS + 1


def test_the_thread_hands_predictions_over_in_the_loop_and_ends() -> None:
    threads: list[threading.Thread] = []

    async def predict_one() -> None:
        table, is_kept = Table(), asyncio.Event()

        def keep(entry: Entry) -> None:
            threads.append(threading.current_thread())
            table.kept.append(entry)
            is_kept.set()

        shadows = Shadows(lambda _: table.shadow, keep)
        shadows.start(asyncio.get_running_loop())
        shadows.note(tuple(make_logged(table.champion)))
        await asyncio.wait_for(is_kept.wait(), 60)
        await asyncio.to_thread(shadows.close)
        assert not shadows._thread.is_alive()
        assert table.kept[0][0] is table.shadow

    asyncio.run(predict_one())
    assert threads == [threading.main_thread()]
