from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.api.status import describe_readiness, describe_rollouts
from tests.unit.serving.follower_replica import FakeRegistry, Replica


def test_a_rollout_is_told_as_the_registry_has_it(replica: Replica, registry: FakeRegistry) -> None:
    registry.aliases |= {"challenger": "2", "previous": "0"}
    registry.canary_until = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    registry.rollout = '{"state": "canary", "to_version": "2"}'
    replica.step()
    told = describe_rollouts(replica.follower)
    assert told["registry"]["reachable"] is True
    assert told["models"] == [
        {
            "name": "iris",
            "champion": "1",
            "challenger": "2",
            "previous": "0",
            "canary_until": "2026-11-20T09:00:00+00:00",
            "rollout": {"state": "canary", "to_version": "2", "figures": {}},
        }
    ]


def test_a_rollout_is_told_without_reasons_persons_and_runs(replica: Replica, registry: FakeRegistry) -> None:
    figures = {"live": 3, "p99_ms": 1.5, "note": "row [1, 'Ann']"}
    registry.rollout = json.dumps(
        {
            "kind": "rollback",
            "state": "rolled back",
            "from_version": "2",
            "to_version": "1",
            "reason": "Ann saw row [1, 'Kim']",
            "owner": "ann",
            "run_url": "http://airflow/dags/1/runs/2",
            "started_at": "2026-11-20T09:00:00+00:00",
            "updated_at": "x" * 41,
            "gate": {"by": "ann"},
            "figures": {"canary": figures, "stable": "Ann", "rows": {"1": 2}},
        }
    )
    replica.step()
    assert describe_rollouts(replica.follower)["models"][0]["rollout"] == {
        "kind": "rollback",
        "state": "rolled back",
        "from_version": "2",
        "to_version": "1",
        "started_at": "2026-11-20T09:00:00+00:00",
        "figures": {"canary": {"live": 3, "p99_ms": 1.5}},
    }


def test_a_test_is_told_with_its_verdict_and_its_numbers(replica: Replica, registry: FakeRegistry) -> None:
    experiment = {"verdict": "better", "rows": 900, "low": -0.1, "note": "row [1, 'Ann']"}
    figures = {"experiment": experiment, "agreement": {"rows": 5000, "alike": 0.96, "psi": None}}
    registry.rollout = json.dumps({"kind": "shadow", "state": "comparing", "figures": figures})
    replica.step()
    told = {
        "kind": "shadow",
        "state": "comparing",
        "verdict": "better",
        "figures": {"experiment": {"rows": 900, "low": -0.1}, "agreement": {"rows": 5000, "alike": 0.96}},
    }
    assert describe_rollouts(replica.follower)["models"][0]["rollout"] == told
    registry.rollout = json.dumps({"state": "comparing", "figures": {"experiment": {"verdict": "Ann's"}}})
    replica.step()
    shown = describe_rollouts(replica.follower)["models"][0]["rollout"]
    assert shown == {"state": "comparing", "figures": {"experiment": {}}}


def test_why_the_registry_cannot_be_read_is_told_inside_the_stack_only(replica: Replica) -> None:
    replica.follower.registry_problem = "http://mlflow:5000 refused trainer"
    assert "mlflow" not in str(describe_rollouts(replica.follower))
    assert describe_readiness(replica.follower)["registry"]["reason"] == "http://mlflow:5000 refused trainer"


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '"canary"'])
def test_a_rollout_that_cannot_be_read_is_none(replica: Replica, registry: FakeRegistry, text: str | None) -> None:
    registry.rollout = text
    replica.step()
    assert describe_rollouts(replica.follower)["models"][0]["rollout"] is None


def test_without_a_registry_the_champion_is_what_serves(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    told = describe_rollouts(restarted.follower)
    assert (told["registry"]["reachable"], told["registry"]["read_at"]) == (False, None)
    assert [(model["champion"], model["rollout"]) for model in told["models"]] == [("1", None)]


def test_a_model_outside_of_the_catalog_is_not_told(replica: Replica) -> None:
    replica.step()
    assert [model["name"] for model in describe_rollouts(replica.follower)["models"]] == ["iris"]
