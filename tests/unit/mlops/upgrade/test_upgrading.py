"""Where a step fails, the version before runs again, with its databases only where they were migrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.backup.databases import DATABASES
from mlops.errors import EngineError, UpgradeError
from mlops.host import BackupTarget
from mlops.upgrade import upgrading
from mlops.upgrade.before import MARKER, Before, read_before
from mlops.upgrade.upgrading import Upgrade

OLD, NEW = "0" * 40, "1" * 40


class FakePostgres:
    """Databases by the migrations that they have had."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.migrations = dict.fromkeys(DATABASES, "1")

    def ask(self, database: str, statement: str) -> list[list[str]]:
        return [["public.alembic_version"]] if "table_name" in statement else [[self.migrations[database]]]

    def has_database(self, database: str) -> bool:
        return database in self.migrations

    def replace(self, database: str, file: Path) -> None:
        self.events.append(f"restore {file.name}")
        self.migrations[database] = "1"


class FakeStack:
    """Notes its steps; `steps` run in the place of some."""

    def __init__(self, events: list[str], steps: dict[str, Callable[[], None]]) -> None:
        self.project = SimpleNamespace(files=(), commit="")
        self.events, self.steps = events, steps

    def tag_images(self) -> dict[str, str]:
        return {"airflow:dev": "sha256:a"}

    def find_stale(self, changed: Sequence[Path]) -> list[str]:
        return [file.name for file in changed]

    def list_running(self) -> tuple[str, ...]:
        return ("a", "b")

    def start(self, stale: Sequence[str], kept: Sequence[str] = ()) -> None:
        self._take(" ".join(["start", self.project.commit[0], *stale, *kept]))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self._take(name)

    def _take(self, event: str) -> None:
        self.events.append(event)
        if step := self.steps.pop(event.split(maxsplit=1)[0], None):
            step()


class FakeCheckout:
    """A clone at the new commit."""

    def __init__(self, folder: Path, events: list[str]) -> None:
        self.folder, self.events, self.commit = folder, events, NEW

    def read_commit(self) -> str:
        return self.commit

    def describe(self, commit: str) -> str:
        return f"v{commit[0]}"

    def list_changed_files(self, old: str, new: str) -> list[Path]:
        assert (old, new) == (OLD, NEW)
        return [Path("nginx")]

    def switch(self, commit: str) -> None:
        self.events.append("switch")
        self.commit = commit


class Case:
    """An upgrade whose parts are fakes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.events: list[str] = []
        self.steps: dict[str, Callable[[], None]] = {}
        self.postgres = FakePostgres(self.events)
        self.checkout = FakeCheckout(folder, self.events)
        self.stack = FakeStack(self.events, self.steps)
        self.versions: dict[str, str] = {}

        def make_backup(*_: object, versions: dict[str, str]) -> Path:
            self.stack._take("backup")
            self.versions = versions
            return folder / "set"

        monkeypatch.setattr(upgrading, "make_backup", make_backup)
        parts: Any = {"site": SimpleNamespace(postgres=self.postgres), "checkout": self.checkout, "stack": self.stack}
        self.upgrade = Upgrade(
            **parts,
            target=BackupTarget(folder, 14.0, None),
            find_versions=lambda: {"release": "0.1.0"},
            try_loop=lambda: self.stack._take("smoke"),
            report=lambda _: None,
        )

    def run(self) -> None:
        self.upgrade.run(OLD, ("docker-compose.yaml",))

    def migrate(self, *databases: str) -> None:
        for database in databases:
            self.postgres.migrations[database] = "2"

    def fail_after(self, step: str, *databases: str, error: BaseException | None = None) -> None:
        def fail() -> None:
            self.migrate(*databases)
            raise error or EngineError("no room")

        self.steps[step] = fail


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


def test_the_backup_is_made_when_nothing_writes_and_nothing_is_migrated(case: Case) -> None:
    case.run()
    assert case.events == ["build", "stop_writers", "backup", "start 1 nginx", "smoke", "untag_images"]
    assert case.versions == {"release": "0.1.0"}
    assert read_before(case.folder) is None


def test_a_build_that_fails_restores_no_database(case: Case) -> None:
    case.fail_after("build")
    with pytest.raises(UpgradeError, match=r"upgrade to v1: .* found: no room\. v0 runs again"):
        case.run()
    assert case.events == ["build", "switch", "put_images_back", "start 0 nginx a b", "untag_images"]
    assert read_before(case.folder) is None


def test_a_migration_that_fails_brings_back_the_databases_that_had_been_migrated(case: Case) -> None:
    case.fail_after("start", "airflow", "mlflow")
    with pytest.raises(UpgradeError, match="v0 runs again"):
        case.run()
    assert case.events[4:] == [
        "stop_writers",
        "switch",
        "put_images_back",
        "open_database",
        "restore airflow.dump",
        "restore mlflow.dump",
        "start 0 nginx a b",
        "untag_images",
    ]


def test_a_database_that_an_interrupted_way_back_left_out_is_restored(case: Case) -> None:
    case.fail_after("smoke")
    case.steps["open_database"] = lambda: case.postgres.migrations.pop("warehouse")
    with pytest.raises(UpgradeError, match="v0 runs again"):
        case.run()
    assert [event for event in case.events if event.startswith("restore")] == ["restore warehouse.dump"]


def test_a_fault_of_any_kind_goes_back(case: Case) -> None:
    case.fail_after("smoke", error=ValueError("found no JSON"))
    with pytest.raises(UpgradeError, match=r"found no JSON\. v0 runs again"):
        case.run()


def test_databases_that_are_as_before_are_left_alone(case: Case) -> None:
    case.fail_after("smoke")
    with pytest.raises(UpgradeError):
        case.run()
    assert not [event for event in case.events if event.startswith("restore")]


def test_programs_of_a_killed_upgrade_end_before_the_databases_are_judged(case: Case) -> None:
    def kill() -> None:
        raise SystemExit

    case.steps["start"] = kill
    with pytest.raises(SystemExit):
        case.run()
    assert read_before(case.folder)
    case.events.clear()
    case.steps["stop_writers"] = lambda: case.migrate("airflow")
    assert case.upgrade.go_back() == "v0"
    assert case.events[0] == "stop_writers"
    assert case.postgres.migrations["airflow"] == "1"


def test_ctrl_c_goes_back_too(case: Case) -> None:
    case.fail_after("smoke", "warehouse", error=KeyboardInterrupt())
    with pytest.raises(UpgradeError, match="found: it was interrupted"):
        case.run()
    assert case.postgres.migrations["warehouse"] == "1"


def test_a_way_back_that_fails_is_gone_again(case: Case) -> None:
    case.fail_after("smoke", "warehouse")
    case.fail_after("open_database")
    with pytest.raises(UpgradeError, match=r"The way back failed too: no room; .* `mlops upgrade --back`"):
        case.run()
    assert (case.folder / MARKER).exists()
    case.events.clear()
    case.upgrade.go_back()
    assert case.events == [
        "stop_writers",
        "put_images_back",
        "open_database",
        "restore warehouse.dump",
        "start 0 nginx a b",
        "untag_images",
    ]
    assert not (case.folder / MARKER).exists()


def test_without_an_upgrade_there_is_nothing_to_undo(case: Case) -> None:
    with pytest.raises(UpgradeError, match="there is nothing to undo"):
        case.upgrade.go_back()
    assert case.events == []


def test_what_ran_before_is_read_as_it_was_noted(tmp_path: Path) -> None:
    before = Before(OLD, NEW, ("docker-compose.yaml",), {"airflow:dev": "a"}, {"mlflow": ["x: 1"]}, "/backups/set")
    before.write(tmp_path)
    assert read_before(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{}", "[]", "\xff", '{"commit": 1}', '{"commit": "0", "new": "1", "files": "a"}'])
def test_a_note_that_is_damaged_is_told(case: Case, text: str) -> None:
    (case.folder / MARKER).write_text(text, "latin-1")
    with pytest.raises(UpgradeError, match=f"found {len(text)} bytes of something else; check out that version"):
        case.upgrade.go_back()
    assert case.events == []
