"""Replicas that follow the aliases at once, the gateway before them, and people who ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Any

from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import Value
from serving.comparison.counters import Counters, Key, Reading
from serving.comparison.senders import Answered, Evidence, Sender
from serving.fleet.gateway import Answer, Variant
from serving.fleet.replicas import Challenger
from tests.unit.serving.fake_registry import FILE, NOON, ROWS, FakeRegistryWriter, FakeRows


@dataclass
class Behaviour:
    """How a version behaves where it serves: latency of every answer, and what is wrong with some of them."""

    seconds: float = 0.002
    failing_share: float = 0.0
    nan_share: float = 0.0
    constant: Any = None


@dataclass
class Served:
    """What one replica's process has counted of one version and kind of traffic."""

    answered: int = 0
    seconds: Counter[float] = field(default_factory=Counter)
    failures: int = 0
    nan_rows: int = 0
    classes: Counter[str] = field(default_factory=Counter)


class FakeStack:
    """One stable and one canary replica that follow the aliases at once, the gateway before them, and people."""

    def __init__(self, registry: FakeRegistryWriter, rows: FakeRows, *, has_canary_pool: bool = True) -> None:
        self.registry = registry
        self.rows = rows
        self.has_canary_pool = has_canary_pool
        self.behaviours: dict[str, Behaviour] = {}
        self.people_per_second = {"stable": 0.0, "canary": 0.0}
        self.person_rows = ROWS
        self.counted: dict[Key, Served] = {}
        self.refused: dict[str, str] = {}
        self.stuck: str | None = None
        self.is_canary_absent = False
        self.shadow_rows = self.shadow_failures = 0
        self.seen = {"stable": Counter[str](), "canary": Counter[str]()}
        self.people_addresses = 20
        self.senders: dict[tuple[int, int], Sender] = {}
        self.answers: dict[int, Answered] = {}
        self._model = OnnxModel(FILE)

    def champion(self) -> str | None:
        return self.stuck or self.registry.aliases.get("champion")

    def challenger(self) -> str | None:
        is_open = "canary_until" in self.registry.model_tags and not self.is_canary_absent
        found = self.registry.aliases.get("challenger") if is_open else None
        return None if found in self.refused else found

    def share(self) -> int:
        """Per cent of the canary pool's people who get the challenger."""
        return int(self.registry.model_tags.get("canary_share", "100"))

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        return {"stable:1": self.champion(), "canary:1": self.champion()}

    def shadow(self) -> str | None:
        """The version that predicts for nobody."""
        is_open = "shadow_until" in self.registry.model_tags and not self.is_canary_absent
        return self.registry.aliases.get("shadow") if is_open else None

    def read_challengers(self, model: str, alias: str = "challenger") -> Mapping[str, Challenger]:
        wanted = self.registry.aliases.get(alias)
        if wanted in self.refused:
            return {"canary:1": Challenger(None, wanted, self.refused[wanted])}
        if alias == "shadow":
            return {"canary:1": Challenger(self.shadow(), rows=self.shadow_rows, failed=self.shadow_failures)}
        return {"canary:1": Challenger(self.challenger())}

    def read_refusals(self, model: str, version: str) -> Mapping[str, str]:
        return {"stable:1": self.refused[version]} if version in self.refused else {}

    def read_figures(self, model: str) -> Mapping[str, Reading]:
        return {"all:1": {key: _make_counters(served) for key, served in self.counted.items()}}

    def read_evidence(self, model: str, version: str, mark: str) -> Mapping[str, Evidence]:
        if self.registry.model_tags.get("replay_sha256") != mark:
            return {}
        return {"canary": Evidence(dict(self.senders), dict(self.answers))}

    def marked(self, word: str) -> FakeStack:
        return self

    def predict(self, model: str, rows: Sequence[Sequence[Value]], variant: Variant | None) -> list[Answer]:
        return [self._answer(row, variant or "stable", "replay") for row in rows]

    def pause(self, seconds: float) -> None:
        self.rows.now += timedelta(seconds=seconds)
        for pool, rate in self.people_per_second.items():
            for number in range(round(rate * seconds)):
                asked = pool if number % 10 * 10 < self.share() else "stable"
                answer = self._answer(self.person_rows[number % len(self.person_rows)], asked, "live")
                self.seen[pool][answer.version or "none"] += 1
                if pool == "canary" and answer.version == self.challenger():
                    self._note(number % self.people_addresses, self.person_rows[number % len(self.person_rows)], answer)

    def clock(self) -> float:
        return (self.rows.now - NOON).total_seconds()

    def _note(self, address: int, row: Sequence[Value], answer: Answer) -> None:
        """What the canary's replica notes of a drawn request."""
        behaviour, stable = self.behaviours.get(answer.version or ""), self.behaviours.get(self.champion() or "")
        behaviour, stable = behaviour or Behaviour(), stable or Behaviour()
        served = self.counted[answer.version or "", "live"]
        failed, nan = answer.status != 200, _is_due(served.answered, behaviour.nan_share)
        slow = behaviour.seconds > max(0.01, 1.2 * stable.seconds)
        new = Sender(address, 0, 1, failed, nan, slow, 1000 * behaviour.seconds * slow, 1000 * stable.seconds * slow)
        self.senders[address, 0] = self.senders.get((address, 0), Sender(address, 0)).plus(new)
        if not failed:
            beside = self._model.predict_rows([row]).values[0]
            both = (Counters(rows=1, classes={str(label): 1}) for label in (answer.prediction, beside))
            self.answers[address] = self.answers.get(address, Answered()).plus(Answered(*both))

    def _answer(self, row: Sequence[Value], pool: str, traffic: str) -> Answer:
        version = (self.challenger() if pool == "canary" else None) or self.champion() or "none"
        behaviour = self.behaviours.get(version, Behaviour())
        served = self.counted.setdefault((version, traffic), Served())
        served.answered += 1
        if _is_due(served.answered, behaviour.failing_share):
            served.failures += 1
            return Answer(500, version, problem="the server failed")
        served.seconds[behaviour.seconds] += 1
        if _is_due(served.answered, behaviour.nan_share):
            served.nan_rows += 1
        prediction = self._model.predict_rows([row]).values[0] if behaviour.constant is None else behaviour.constant
        served.classes[str(prediction)] += 1
        return Answer(200, version, prediction)


def _is_due(number: int, share: float) -> bool:
    return int(number * share + 1e-9) > int((number - 1) * share + 1e-9)


def _make_counters(served: Served) -> Counters:
    bounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 1.0, 10.0, inf]
    buckets = {bound: float(sum(n for at, n in served.seconds.items() if at <= bound)) for bound in bounds}
    rows = float(sum(served.classes.values()))
    return Counters(
        buckets=buckets,
        failures=served.failures,
        rows=rows,
        nan_rows=served.nan_rows,
        classes={name: float(count) for name, count in served.classes.items()},
    )
