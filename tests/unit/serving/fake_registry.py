"""What stays when a controller dies: the registry, the log of promotions and the rows of rollouts, in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ml_code.errors import WarehouseError
from ml_code.model_file.spec import Value
from ml_code.signature import Signer
from serving.errors import LateChangeError, RegistryError
from serving.rollout.promotion_log import Action, Move
from serving.rollout.rows import Kind, Rollout, State
from tests.unit.serving.onnx_files import make_classifier

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FILE = make_classifier()
ROWS: list[list[Value]] = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [7.7, 3.0, 6.1, 2.3]]


class FakeRegistryWriter:
    """Versions with their tags and files; `newest_passed` and those before it have passed the gate."""

    def __init__(self, newest_passed: str | None = None, **aliases: str) -> None:
        self.aliases = aliases
        self.tags: dict[str, dict[str, str]] = {}
        self.files: dict[str, bytes | None] = {}
        self.model_tags: dict[str, str] = {}
        self.signer: Signer | None = None
        self.late: Callable[[Callable[[], None]], bool] | None = None
        """Called with the next change of an alias, which is not answered in time, when its caller waits for it."""
        for version in range(1, int(newest_passed or 0) + 1):
            self.add(str(version))

    def add(self, version: str, content: bytes | None = FILE, **tags: str) -> None:
        digest = hashlib.sha256(content or b"").hexdigest()
        self.tags[version] = {"gate": "passed", "sha256": digest, **tags}
        self.files[version] = content

    def forget(self, version: str) -> None:
        """Deletes a version, as a person may in MLflow; its aliases go with it."""
        del self.tags[version], self.files[version]
        self.aliases = {alias: named for alias, named in self.aliases.items() if named != version}

    def read(self, model: str) -> dict[str, str]:
        return dict(self.aliases)

    def find_newest_passed(self, model: str, barred: Collection[str]) -> str | None:
        found = [version for version in self.tags if (self.read_tags(model, version) or {}).get("gate") == "passed"]
        return max((version for version in found if version not in barred), key=int, default=None)

    def read_tags(self, model: str, version: str) -> dict[str, str] | None:
        tags = self.tags.get(version)
        if tags is None or self.signer is None:
            return tags
        return tags | {"gate": self.signer.read_gate(model, version, tags) or ""}

    def download(self, model: str, version: str, target: Path, limit_bytes: int) -> str:
        content = self.files.get(version)
        if content is None:
            raise RegistryError("found status 500", 500)
        target.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def move(self, model: str, alias: str, version: str) -> None:
        if version not in self.tags:
            raise RegistryError(f"found status 404 for version {version}", 404)
        self._change(lambda: self.aliases.__setitem__(alias, version))

    def delete(self, model: str, alias: str) -> None:
        self._change(lambda: self.aliases.pop(alias, None))

    def _change(self, change: Callable[[], object]) -> None:
        if self.late is None:
            change()
            return
        wait, self.late = self.late, None
        raise LateChangeError("found no answer", lambda seconds: wait(lambda: change() and None))

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        self.tags.setdefault(version, {})[key] = value

    def tag_model(self, model: str, key: str, value: str | None) -> None:
        if value is None:
            self.model_tags.pop(key, None)
        else:
            self.model_tags[key] = value


class FakeLog:
    """The newest move stands last."""

    def __init__(self, *moves: Move, rows: FakeRows | None = None) -> None:
        self.moves = list(moves)
        self.rows = rows

    def record(
        self,
        model: str,
        action: Action,
        who: str,
        why: str,
        *,
        from_version: str | None = None,
        to_version: str | None = None,
        rollout_id: int | None = None,
    ) -> bool:
        if rollout_id and self.rows and self.rows.rows[rollout_id].ended_at is not None:
            return False
        if rollout_id is not None and (rollout_id, action) in {(move.rollout_id, move.action) for move in self.moves}:
            return True
        self.moves.append(Move(NOON, model, action, from_version, to_version, who, why, rollout_id))
        return True

    def list_moves(self, model: str) -> list[Move]:
        return self.moves[::-1]

    def find_last_move(self, model: str) -> Move | None:
        return next((move for move in self.list_moves(model) if move.to_version), None)

    def find_promotion(self, model: str, version: str) -> Move | None:
        taken = [move for move in self.list_moves(model) if move.action == "promote" and move.to_version == version]
        return next((move for move in taken if move.from_version != version), None)

    def find_freeze(self, model: str) -> Move | None:
        last = next((move for move in self.list_moves(model) if move.action in {"freeze", "unfreeze"}), None)
        return last if last and last.action == "freeze" else None


class FakeRows:
    """The rows of rollouts, on a clock of their own; a session may end before a given proof of its lock."""

    def __init__(self) -> None:
        self.rows: dict[int, Rollout] = {}
        self.verdicts: set[int] = set()
        self.now = NOON
        self.holder: object = None
        self.proofs_left: int | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        """Called when a lock is lost: another process gets it."""

    @property
    def is_locked(self) -> bool:
        return self.holder is not None

    @contextmanager
    def lock(self, model: str) -> Iterator[Callable[[], None]]:
        assert not self.is_locked, "the lock was taken twice"
        self.holder = own = object()
        try:
            yield lambda: self._prove(own)
            if self.holder is not own:
                raise WarehouseError("the lock was lost")
        finally:
            if self.holder is own:
                self.holder = None

    def _prove(self, own: object) -> None:
        if self.proofs_left is not None and self.holder is own:
            self.proofs_left -= 1
            if self.proofs_left < 0:
                self.proofs_left, self.holder = None, None
                self.meanwhile()
        if self.holder is not own:
            raise WarehouseError("the lock was lost")

    def find_active(self, model: str) -> Rollout | None:
        found = [row for row in self.rows.values() if row.model == model and row.ended_at is None]
        assert len(found) <= 1
        return self.read(found[0].rollout_id) if found else None

    def find_rollback(self, model: str, owner: str) -> Rollout | None:
        ended = [row for row in self.rows.values() if row.model == model and row.owner == owner and row.ended_at]
        return next((row for row in reversed(ended) if row.kind == "rollback"), None)

    def list_barred(self, model: str) -> frozenset[str]:
        done = [row for row in self.rows.values() if row.model == model and row.state == "rolled back"]
        judged = [self.rows[number] for number in sorted(self.verdicts) if self.rows[number].model == model]
        last = {row.to_version: row.state for row in judged}
        failed = {version for version, state in last.items() if state != "promoted"}
        return frozenset(failed | {row.from_version for row in done if row.from_version})

    def read(self, rollout_id: int) -> Rollout:
        found = self.rows[rollout_id]
        return replace(found, is_expired=found.lease_until < self.now)

    def open(
        self,
        model: str,
        *,
        kind: Kind,
        from_version: str | None,
        to_version: str,
        state: State,
        owner: str,
        who: str,
        run_url: str | None,
        lease_seconds: float,
    ) -> Rollout:
        assert self.find_active(model) is None
        number = len(self.rows) + 1
        until = self.now + timedelta(seconds=lease_seconds)
        self.rows[number] = Rollout(
            *(number, model, kind, from_version, to_version, state, owner, who, run_url, "", {}),
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
        is_verdict: bool = False,
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
        if is_verdict:
            self.verdicts.add(rollout_id)
        return self.rows[rollout_id]
