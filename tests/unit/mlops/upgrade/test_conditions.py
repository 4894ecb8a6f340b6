"""An upgrade does not begin where there would be no way back, or where work would be lost."""

from __future__ import annotations

from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.airflow_api import RunState
from mlops.compose import ComposeProject, Container
from mlops.errors import UpgradeError
from mlops.host import BackupTarget
from mlops.upgrade import conditions
from tests.unit.mlops.backup.small_set import MemoryStore
from tests.unit.mlops.fake_docker import FakeDocker, answer_stack, describe_container

SERVICES = ("airflow-scheduler", "mlflow", "nginx", "postgres", "serving")

Usage = namedtuple("Usage", "total used free")


class FakePostgres:
    """Answers each question by the first of some words that it holds."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = answers

    def ask(self, _: str, statement: str) -> list[list[str]]:
        return next(rows for words, rows in self.answers.items() if words in statement)


def read(*described: dict[str, Any]) -> list[Container]:
    return ComposeProject(Path("/checkout/.env"), FakeDocker(answer_stack(*described)).run).list_containers()


def describe_all(checkout: Path, **changes: dict[str, Any]) -> list[Container]:
    return read(*(describe_container(name, "image", checkout, **changes.get(name, {})) for name in SERVICES))


def test_a_stack_that_runs_here_and_is_healthy_is_taken(tmp_path: Path) -> None:
    ended = read(describe_container("airflow-init", "image", tmp_path, status="exited", health="unhealthy"))
    conditions.check_containers(describe_all(tmp_path) + ended, tmp_path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"mlflow": {"health": "unhealthy"}}, "found mlflow otherwise"),
        ({"serving": {"status": "exited"}}, "found serving otherwise"),
    ],
)
def test_a_stack_that_is_ill_is_not_upgraded(tmp_path: Path, changes: dict[str, dict[str, Any]], found: str) -> None:
    with pytest.raises(UpgradeError, match=found):
        conditions.check_containers(describe_all(tmp_path, **changes), tmp_path)


def test_the_stack_of_another_checkout_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UpgradeError, match="found that /elsewhere does; run the upgrade there"):
        conditions.check_containers(describe_all(Path("/elsewhere")), tmp_path)


def make_checkout(changes: list[str], *, has: bool = True) -> Any:
    return SimpleNamespace(list_changes=lambda: changes, has=lambda _: has)


def test_a_checkout_without_a_way_back_is_refused() -> None:
    conditions.check_checkout(make_checkout([]), "abc")
    with pytest.raises(UpgradeError, match=r"found changes in a, b, c and 1 more; commit them"):
        conditions.check_checkout(make_checkout(["a", "b", "c", "d"]), "abc")
    with pytest.raises(UpgradeError, match=r"mlops upgrade --from"):
        conditions.check_checkout(make_checkout([]), "")
    with pytest.raises(UpgradeError, match=r"expected the commit abc, which runs, found none here"):
        conditions.check_checkout(make_checkout([], has=False), "abc")


def test_an_older_version_does_not_take_the_warehouse_of_a_newer_one() -> None:
    postgres: Any = FakePostgres(schema_version=[["0001_search_path.sql"]])
    conditions.check_migrations(postgres)
    postgres.answers["schema_version"].append(["9999_later.sql"])
    with pytest.raises(UpgradeError, match=r"found the migration 9999_later\.sql, which this checkout lacks"):
        conditions.check_migrations(postgres)


def test_trainings_and_rollouts_under_way_are_named() -> None:
    runs = [
        RunState(dag_id, "run", state, "")
        for dag_id, state in (
            ("mlops_training_pipeline", "running"),
            ("mlops_training_pipeline", "failed"),
            ("collect_predictions", "running"),
            ("batch_inference", "queued"),
        )
    ]
    asked: list[datetime] = []
    api: Any = SimpleNamespace(list_notable_runs=lambda since: asked.append(since) or runs)
    postgres: Any = FakePostgres(rollout=[["iris", "rollout", "canary"]])
    assert conditions.find_work(api, postgres) == [
        "the rollout of iris (canary)",
        "mlops_training_pipeline run",
        "batch_inference run",
    ]
    assert (datetime.now(UTC) - asked[0]).days >= 1


def test_a_disk_without_room_for_the_set_is_told_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = MemoryStore({"s3://mlflow/model": b"x" * 1_000})
    postgres = FakePostgres(pg_database_size=[["2000000000"]])
    site: Any = SimpleNamespace(postgres=postgres, reader=store)
    target = BackupTarget(tmp_path / "new" / "folder", 14.0, None)
    assert conditions.measure_backup(site, target) == 2_000_001_000
    free = conditions.MIN_FREE_DISK_GB * 1e9 + 2_000_001_000
    monkeypatch.setattr(conditions.shutil, "disk_usage", lambda _: Usage(0, 0, free))
    conditions.check_space(site, target)
    monkeypatch.setattr(conditions.shutil, "disk_usage", lambda _: Usage(0, 0, free - 1e8))
    with pytest.raises(UpgradeError, match=r"expected 4\.0 GB free for the set before the upgrade, found 3\.9 GB"):
        conditions.check_space(site, target)
