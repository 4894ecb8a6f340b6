"""What a rollout works with, in memory: a registry, the logs, replicas that follow at once, a gateway before them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

from ml_code.holdout_rows import HoldoutRows
from ml_code.model_spec import ModelSpec, Value
from ml_code.onnx_model import OnnxModel
from ml_code.promotion_log import Action, Move
from serving.control import Control
from serving.counters import Counters, Key, Reading
from serving.errors import RegistryError
from serving.fleet import Challenger
from serving.gateway import Answer, Variant
from serving.rollback import promote_by_hand
from serving.rollout_rows import Kind, Rollout, State
from tests.unit.serving.onnx_files import make_classifier

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FILE = make_classifier()
ROWS: list[list[Value]] = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [7.7, 3.0, 6.1, 2.3]]


class FakeAliases:
    """Versions with their tags and files; `newest_passed` and those before it have passed the gate."""

    def __init__(self, newest_passed: str | None = None, **aliases: str) -> None:
        self.aliases = aliases
        self.tags: dict[str, dict[str, str]] = {}
        self.files: dict[str, bytes | None] = {}
        self.model_tags: dict[str, str] = {}
        for version in range(1, int(newest_passed or 0) + 1):
            self.add(str(version))

    def add(self, version: str, content: bytes | None = FILE, **tags: str) -> None:
        digest = hashlib.sha256(content or b"").hexdigest()
        self.tags[version] = {"gate": "passed", "sha256": digest, **tags}
        self.files[version] = content

    def read(self, model: str) -> dict[str, str]:
        return dict(self.aliases)

    def find_newest_passed(self, model: str) -> str | None:
        good = [
            version
            for version, tags in self.tags.items()
            if tags.get("gate") == "passed"
            and "rolled_back" not in tags
            and tags.get("rollout") not in {"aborted", "inconclusive"}
        ]
        return max(good, key=int, default=None)

    def read_tags(self, model: str, version: str) -> dict[str, str] | None:
        return self.tags.get(version)

    def download(self, model: str, version: str, target: Path, limit_bytes: int) -> str:
        content = self.files.get(version)
        if content is None:
            raise RegistryError("found status 500", 500)
        target.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def move(self, model: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def delete(self, model: str, alias: str) -> None:
        self.aliases.pop(alias, None)

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        self.tags.setdefault(version, {})[key] = value

    def tag_model(self, model: str, key: str, value: str | None) -> None:
        if value is None:
            self.model_tags.pop(key, None)
        else:
            self.model_tags[key] = value


class FakeLog:
    """The newest move stands last."""

    def __init__(self, *moves: Move) -> None:
        self.moves = list(moves)

    def record(
        self,
        model: str,
        action: Action,
        who: str,
        why: str,
        *,
        from_version: str | None = None,
        to_version: str | None = None,
    ) -> None:
        last = next((move for move in self.list_moves(model) if move.to_version), None)
        if to_version and last and (last.from_version, last.to_version) == (from_version, to_version):
            return
        self.moves.append(Move(NOON, model, action, from_version, to_version, who, why))

    def list_moves(self, model: str, limit: int = 50) -> list[Move]:
        return self.moves[::-1][:limit]

    def find_freeze(self, model: str) -> Move | None:
        last = next((move for move in self.list_moves(model) if move.action in {"freeze", "unfreeze"}), None)
        return last if last and last.action == "freeze" else None


class FakeRows:
    """The rows of rollouts, on a clock of their own."""

    def __init__(self) -> None:
        self.rows: dict[int, Rollout] = {}
        self.now = NOON
        self.is_locked = False

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        assert not self.is_locked, "the lock was taken twice"
        self.is_locked = True
        try:
            yield
        finally:
            self.is_locked = False

    def find_active(self, model: str) -> Rollout | None:
        found = [row for row in self.rows.values() if row.model == model and row.ended_at is None]
        assert len(found) <= 1
        return self.read(found[0].rollout_id) if found else None

    def read(self, rollout_id: int) -> Rollout:
        found = self.rows[rollout_id]
        return replace(found, is_expired=found.lease_until < self.now)

    def open(  # noqa: PLR0917
        self,
        model: str,
        kind: Kind,
        from_version: str | None,
        to_version: str,
        state: State,
        owner: str,
        run_url: str | None,
        lease_seconds: float,
    ) -> Rollout:
        assert self.find_active(model) is None
        number = len(self.rows) + 1
        until = self.now + timedelta(seconds=lease_seconds)
        self.rows[number] = Rollout(
            *(number, model, kind, from_version, to_version, state, owner, run_url, "", {}),
            *(self.now, self.now, None, until),
            is_expired=False,
        )
        return self.rows[number]

    def write(
        self,
        rollout_id: int,
        *,
        lease_seconds: float,
        only_of: str | None = None,
        is_over: bool = False,
        **changes: Any,
    ) -> Rollout | None:
        row = self.read(rollout_id)
        if row.ended_at is not None or (only_of is not None and row.owner != only_of):
            return None
        given = {name: value for name, value in changes.items() if value is not None}
        until = self.now + timedelta(seconds=lease_seconds)
        ended = self.now if is_over else None
        self.rows[rollout_id] = replace(
            row, **given, lease_until=until, updated_at=self.now, ended_at=ended, is_expired=False
        )
        return self.rows[rollout_id]


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

    def __init__(self, aliases: FakeAliases, rows: FakeRows, *, has_canary_pool: bool = True) -> None:
        self.aliases = aliases
        self.rows = rows
        self.has_canary_pool = has_canary_pool
        self.behaviours: dict[str, Behaviour] = {}
        self.people_per_second = {"stable": 0.0, "canary": 0.0}
        self.person_rows = ROWS
        self.counted: dict[Key, Served] = {}
        self.refused: dict[str, str] = {}
        self.stuck: str | None = None
        self.is_canary_absent = False
        self.seen = {"stable": Counter[str](), "canary": Counter[str]()}
        self._model = OnnxModel(FILE)

    def champion(self) -> str | None:
        return self.stuck or self.aliases.aliases.get("champion")

    def challenger(self) -> str | None:
        is_open = "canary_until" in self.aliases.model_tags and not self.is_canary_absent
        found = self.aliases.aliases.get("challenger") if is_open else None
        return None if found in self.refused else found

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        return {"stable:1": self.champion(), "canary:1": self.champion()}

    def read_challengers(self, model: str) -> Mapping[str, Challenger]:
        wanted = self.aliases.aliases.get("challenger")
        if wanted in self.refused:
            return {"canary:1": Challenger(None, wanted, self.refused[wanted])}
        return {"canary:1": Challenger(self.challenger())}

    def read_figures(self, model: str) -> Mapping[str, Reading]:
        return {"all:1": {key: _make_counters(served) for key, served in self.counted.items()}}

    def predict(self, model: str, rows: Sequence[Sequence[Value]], variant: Variant | None) -> list[Answer]:
        return [self._answer(row, variant or "stable", "replay") for row in rows]

    def pause(self, seconds: float) -> None:
        self.rows.now += timedelta(seconds=seconds)
        for pool, rate in self.people_per_second.items():
            for number in range(round(rate * seconds)):
                answer = self._answer(self.person_rows[number % len(self.person_rows)], pool, "live")
                self.seen[pool][answer.version or "none"] += 1

    def clock(self) -> float:
        return (self.rows.now - NOON).total_seconds()

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


@dataclass(frozen=True)
class Table:
    """Everything that stays when a controller dies."""

    aliases: FakeAliases
    log: FakeLog
    rows: FakeRows
    stack: FakeStack

    def control(self, owner: str = "dag/run") -> Control:
        """A controller of that name, on this table."""
        return Control(
            self.aliases,
            self.log,
            self.rows,
            self.stack,
            self.stack,
            read_holdout,
            owner,
            timeout_seconds=10.0,
            pause=self.stack.pause,
            clock=self.stack.clock,
        )


def set_table(newest_passed: str | None = None, *, has_canary_pool: bool = True, **aliases: str) -> Table:
    """A registry with these versions and aliases, and replicas that follow it."""
    registry, rows = FakeAliases(newest_passed, **aliases), FakeRows()
    log = FakeLog()
    if "champion" in aliases:
        log.record(
            "iris", "promote", "ada", "as it was", from_version=aliases.get("previous"), to_version=aliases["champion"]
        )
    return Table(registry, log, rows, FakeStack(registry, rows, has_canary_pool=has_canary_pool))


def read_holdout(model: str, version: str) -> HoldoutRows:
    opened = OnnxModel(FILE)
    spec: ModelSpec = opened.spec
    return HoldoutRows(spec, ROWS, opened.predict_rows(ROWS).values)


def promote_in_turn(*versions: str) -> Table:
    """Iris whose versions were promoted by hand one after the other."""
    table = set_table(versions[-1])
    for version in versions:
        promote_by_hand(table.control("ada@lab"), "iris", version, "better")
    return table
