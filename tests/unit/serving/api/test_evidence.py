"""What a replica of the canary pool notes of drawn requests, with real files beside each other."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from ml_code.model_file.onnx_model import OnnxModel
from serving.answering.rows import RowParser
from serving.answering.served import ServedModel, Version
from serving.api.app import PredictionApp
from serving.api.evidence import SAMPLES, EvidenceBook
from serving.api.metrics import PredictionMetrics
from serving.api.pages import make_pages
from serving.comparison.senders import Evidence, read_evidence
from serving.following.follower import Follower
from serving.following.share import is_in_share
from serving.registry.names import CHALLENGER
from serving.registry.reader import RegisteredModel
from tests.unit.serving.bad_files import BAD_ROWS, CALM_ROWS, Fault, make_bad_classifier

MARK = "a" * 64
DRAWN = {"X-Pool": "canary", "X-Pool-Choice": "drawn"}
SLOW_ROUNDS = 4000
"""Tens of milliseconds: well above the time from which on an answer can be slow, on a fast machine too."""


@dataclass
class Canary:
    """A replica's app with a champion that is sound and a challenger with a fault."""

    follower: Follower
    book: EvidenceBook = field(default_factory=EvidenceBook)

    def ask(self, rows: Any, *, times: int = 1, headers: dict[str, str] | None = None, **more: str) -> list[int]:
        """Asks, waits for the comparisons, and returns the statuses."""
        pages = make_pages(self.follower, pool="canary", replica="one", default_model="iris", evidence=self.book)
        metrics = PredictionMetrics(CollectorRegistry())
        app = PredictionApp(self.follower, metrics, default_model="iris", pages=pages, evidence=self.book)
        sent = {"content-type": "application/json", **(DRAWN if headers is None else headers), **more}

        async def send() -> list[int]:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
                found = []
                for _ in range(times):
                    answer = await client.post("/predict", content=json.dumps(rows), headers=sent)
                    found.append(answer.status_code)
                    await self.book.settle()
                return found

        return asyncio.run(send())

    def read(self, mark: str = MARK) -> Evidence | None:
        """What a rollout reads."""
        body = json.loads(json.dumps(self.book.describe()))
        found = read_evidence(body, "iris", "8", mark)
        return found[1] if found else None

    def sum(self, name: str) -> float:
        """One number of all senders."""
        found = self.read()
        return sum(getattr(sender, name) for sender in found.senders.values()) if found else 0.0


def open_version(version: str, variant: str, content: bytes) -> ServedModel:
    model = OnnxModel(content)
    return ServedModel(Version("iris", version, "0" * 64), variant, "", model, RowParser(model.spec))


@pytest.fixture
def canary(follower: Follower, request: pytest.FixtureRequest) -> Canary:
    """The parameter is the challenger's fault, and the champion's if there are two."""
    faults: Sequence[Fault | None] = getattr(request, "param", (None,))
    challenger, champion = faults[0], faults[1] if len(faults) > 1 else None
    follower.slots["iris", "champion"] = open_version("7", "champion", make_bad_classifier(champion))
    follower.slots["iris", CHALLENGER] = open_version(
        "8", CHALLENGER, make_bad_classifier(challenger, rounds=SLOW_ROUNDS)
    )
    follower._open_until["iris", CHALLENGER] = datetime.now(UTC) + timedelta(minutes=5)
    follower.registered = {"iris": RegisteredModel({}, replay_mark=MARK)}
    return Canary(follower)


def faulty(*faults: Fault | None) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("canary", [faults], indirect=True, ids=["-".join(map(str, faults))])


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Pool": "canary", "X-Pool-Choice": "asked"},
        {"X-Pool": "canary"},
        {"X-Pool": "stable", "X-Pool-Choice": "drawn"},
        {**DRAWN, "X-Replay": "1"},
        {**DRAWN, "X-Pool-Choice": "probe"},
    ],
    ids=["forced", "not from the gateway", "the stable pool", "a foreign replay", "a probe"],
)
def test_what_the_gateway_did_not_draw_for_the_canary_is_no_evidence(canary: Canary, headers: dict[str, str]) -> None:
    canary.ask([CALM_ROWS[0]], headers=headers)
    assert canary.read() is None
    canary.ask([CALM_ROWS[0]])
    assert canary.sum("requests") == 1


def test_of_the_users_drawn_for_the_canary_those_in_its_share_get_the_challenger(canary: Canary) -> None:
    canary.follower.registered = {"iris": RegisteredModel({CHALLENGER: "8"}, replay_mark=MARK, canary_share=20)}
    users = [f"user-{number}" for number in range(40)]
    chosen = sum(is_in_share("iris", "8", user.encode(), 20) for user in users)
    assert 0 < chosen < len(users)
    for user in users:
        assert canary.ask([CALM_ROWS[0]], **{"X-User-Id": user}) == [200]
    assert canary.sum("requests") == chosen


def test_without_a_user_the_gateways_request_id_decides(canary: Canary) -> None:
    canary.follower.registered = {"iris": RegisteredModel({CHALLENGER: "8"}, replay_mark=MARK, canary_share=20)}
    requests = [f"request-{number}" for number in range(40)]
    for request in requests:
        canary.ask([CALM_ROWS[0]], **{"X-Request-Id": request})
    assert canary.sum("requests") == sum(is_in_share("iris", "8", request.encode(), 20) for request in requests)


def test_a_sender_is_an_address_and_a_user_however_much_it_sends(canary: Canary) -> None:
    canary.ask([CALM_ROWS[0]], times=30, **{"X-Forwarded-For": "10.0.0.1", "X-User-Id": "ann"})
    canary.ask([CALM_ROWS[0]], **{"X-Forwarded-For": "10.0.0.2", "X-User-Id": "ann"})
    found = canary.read()
    assert found is not None
    assert sorted(sender.requests for sender in found.senders.values()) == [1, 30]


def test_an_address_has_few_users_however_many_it_invents(canary: Canary) -> None:
    for number in range(200):
        canary.ask([CALM_ROWS[0]], **{"X-Forwarded-For": "10.0.0.1", "X-User-Id": f"user-{number}"})
    found = canary.read()
    assert found is not None
    assert len(found.senders) <= 64
    assert len(found.addresses) == 1


@faulty("errors")
def test_a_failure_that_the_champion_does_not_have_counts_for_its_sender(canary: Canary) -> None:
    assert canary.ask([BAD_ROWS[0]], times=3) == [500, 500, 500]
    assert (canary.sum("requests"), canary.sum("failures")) == (3, 3)


@pytest.mark.parametrize("canary", [("errors", "errors"), ("nan", "nan"), ("slow", "slow")], indirect=True)
def test_what_the_champion_does_alike_is_no_fault(canary: Canary) -> None:
    canary.ask([BAD_ROWS[0]], times=3)
    assert [canary.sum(name) for name in ("failures", "nan")] == [0, 0]
    found = canary.read()
    assert all(sender.slow_ms <= 3 * sender.stable_ms for sender in found.senders.values()) if found else True


@faulty("nan")
def test_rows_without_a_number_count_for_their_sender(canary: Canary) -> None:
    canary.ask([BAD_ROWS[0]], times=2)
    assert canary.sum("nan") == 2


@faulty("slow")
def test_a_row_that_is_slow_each_time_counts_for_its_sender(canary: Canary) -> None:
    canary.ask([BAD_ROWS[0]], times=2)
    found = canary.read()
    assert found is not None
    [sender] = found.senders.values()
    assert sender.slow >= 1
    assert sender.slow_ms > 3 * sender.stable_ms


@faulty("constant")
def test_both_versions_answers_to_the_same_rows_are_told(canary: Canary) -> None:
    for row in BAD_ROWS:
        canary.ask([row], times=2)
    found = canary.read()
    assert found is not None
    [answers] = found.answers.values()
    assert (answers.canary.classes, answers.stable.classes) == ({"1": 6}, {"0": 2, "1": 2, "2": 2})


def test_one_row_is_compared_a_few_times_only(canary: Canary) -> None:
    canary.ask([CALM_ROWS[0]], times=SAMPLES + 20)
    found = canary.read()
    assert found is not None
    assert [answers.canary.rows for answers in found.answers.values()] == [SAMPLES]
    assert canary.sum("requests") == SAMPLES + 20


def test_a_batch_weighs_as_much_as_a_row(canary: Canary) -> None:
    canary.ask([CALM_ROWS[0]] * 1000)
    found = canary.read()
    assert found is not None
    [answers] = found.answers.values()
    assert (answers.canary.rows, answers.canary.classes) == (1, {"0": 1.0})


def test_rows_that_both_versions_refuse_are_no_request(canary: Canary) -> None:
    assert canary.ask([["text"]], times=5) == [422] * 5
    assert canary.sum("requests") == 0


def test_the_evidence_of_a_rollout_starts_with_its_mark(canary: Canary) -> None:
    canary.ask([CALM_ROWS[0]])
    canary.follower.registered = {"iris": RegisteredModel({}, replay_mark="b" * 64)}
    canary.ask([CALM_ROWS[0]])
    assert canary.read() is None
    found = canary.read("b" * 64)
    assert found is not None
    assert len(found.senders) == 1
    canary.follower.registered = {}
    canary.ask([CALM_ROWS[0]])
    assert canary.read("b" * 64) == found


@faulty("errors")
def test_without_a_champion_beside_it_no_failure_is_held_against_a_version(canary: Canary) -> None:
    del canary.follower.slots["iris", "champion"]
    canary.ask([BAD_ROWS[0]])
    assert canary.sum("failures") == 0


def test_a_request_that_waits_behind_others_until_its_time_is_over_is_no_failure(canary: Canary) -> None:
    metrics = CollectorRegistry()
    pages = make_pages(canary.follower, pool="canary", replica="one", default_model="iris", evidence=canary.book)
    app = PredictionApp(
        canary.follower, PredictionMetrics(metrics), default_model="iris", pages=pages, evidence=canary.book
    )
    challenger, is_over = canary.follower.slots["iris", CHALLENGER], threading.Event()

    async def send() -> None:
        thread = challenger._thread
        assert thread is not None
        busy = asyncio.get_running_loop().run_in_executor(thread, is_over.wait, 60)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
            asked = client.post("/predict", json=[CALM_ROWS[0]], headers=DRAWN)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked, 0.01)
        is_over.set()
        await busy
        await canary.book.settle()

    asyncio.run(send())
    labels = {"model": "iris", "version": "8", "variant": CHALLENGER, "traffic": "live"}
    assert metrics.get_sample_value("mlops_prediction_failures_total", labels) is None
    assert canary.read() is None
