"""Replicas are replaced one after another, and what writes to the databases stops first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops.compose import ComposeProject
from mlops.errors import EngineError, UpgradeError
from mlops.upgrade import stack as upgraded_stack
from mlops.upgrade.stack import UpgradedStack
from tests.unit.mlops.fake_docker import FakeDocker, answer_stack, describe_container

CHECKOUT = Path("/checkout")


def describe_service(image: str, *mounts: str, restart: str = "unless-stopped") -> dict[str, Any]:
    volumes = [{"type": "bind", "source": str(CHECKOUT / mount)} for mount in mounts]
    return {"image": image, "restart": restart, "volumes": [*volumes, {"type": "volume", "source": "data"}]}


CONFIG = {
    "name": "mlops-loop",
    "services": {
        "preflight": describe_service("mlops-loop/airflow:dev", "dags", restart="no"),
        "airflow-scheduler": describe_service("mlops-loop/airflow:dev", "dags", "ml_code"),
        "mlflow": describe_service("mlops-loop/mlflow:dev"),
        "postgres": describe_service("postgres:17", "docker/postgres/pg_hba.conf"),
        "minio": describe_service("silo:1"),
        "serving": describe_service("mlops-loop/serving:dev", "ml_code/catalog"),
        "serving-canary": describe_service("mlops-loop/serving:dev", "ml_code/catalog"),
        "nginx": describe_service("nginx:1", "docker/nginx/templates"),
    },
}

CONTAINERS = [
    describe_container("airflow-scheduler", "mlops-loop/airflow:dev", CHECKOUT, image_id="sha256:a"),
    describe_container("serving", "mlops-loop/serving:dev", CHECKOUT, image_id="sha256:s"),
    describe_container("serving-canary", "mlops-loop/serving:dev", CHECKOUT, image_id="sha256:s"),
    describe_container("airflow-init", "mlops-loop/airflow:dev", CHECKOUT, image_id="sha256:old", status="exited"),
    describe_container("nginx", "nginx:1", CHECKOUT),
]


CHANGING = (
    "docker compose up",
    "docker compose rm",
    "docker stop",
    "docker tag",
    "docker image rm",
    "docker image prune",
)


def make_stack(*containers: dict[str, Any]) -> tuple[UpgradedStack, FakeDocker]:
    docker = FakeDocker(answer_stack(*(containers or CONTAINERS), config=CONFIG))
    return UpgradedStack(ComposeProject(CHECKOUT / ".env", docker.run), lambda _: None), docker


def list_changes(docker: FakeDocker) -> list[str]:
    """The commands that change something, shortened."""
    return [
        command.removeprefix("docker ").removeprefix("compose ").replace("--detach --wait --no-build ", "")
        for command in docker.commands
        if command.startswith(CHANGING)
    ]


def test_replicas_are_replaced_one_by_one_between_the_programs_and_the_gateway() -> None:
    stack, docker = make_stack()
    stack.start()
    assert list_changes(docker) == [
        "up airflow-scheduler mlflow postgres minio",
        "stop id-of-serving-canary",
        "up --no-deps --no-recreate serving-canary",
        "up --no-deps serving-canary",
        "stop id-of-serving",
        "up --no-deps --no-recreate serving",
        "up --no-deps serving",
        "up --no-deps --remove-orphans nginx",
    ]


def test_on_the_way_back_what_runs_since_before_is_left_alone() -> None:
    stack, docker = make_stack()
    kept = [found for found in stack.list_running() if found not in {"id-of-serving", "id-of-airflow-scheduler"}]
    stack.start(["airflow-scheduler", "nginx"], kept)
    assert list_changes(docker) == [
        "rm --stop --force airflow-scheduler",
        "up airflow-scheduler mlflow postgres minio",
        "up --no-deps serving-canary",
        "stop id-of-serving",
        "up --no-deps --no-recreate serving",
        "up --no-deps serving",
        "up --no-deps --remove-orphans nginx",
    ]


def test_each_replica_of_a_pool_is_up_before_the_next_one_stops() -> None:
    first, second = ({**CONTAINERS[1], "Id": name} for name in ("one", "two"))
    stack, docker = make_stack(first, second)
    stack._replace("serving")
    assert list_changes(docker) == [
        "stop one",
        "up --no-deps --no-recreate serving",
        "stop two",
        "up --no-deps --no-recreate serving",
        "up --no-deps serving",
    ]


def test_a_replica_that_a_killed_upgrade_took_away_comes_back() -> None:
    stack, docker = make_stack(*CONTAINERS[-2:])
    stack._replace("serving-canary")
    assert list_changes(docker) == ["up --no-deps serving-canary"]


def test_a_new_replica_without_a_model_is_an_error_only_if_the_old_one_had_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgraded_stack, "READY_SECONDS", -1.0)
    stack, docker = make_stack()
    docker.answers["docker exec"] = ""

    def lose_model(_: list[str]) -> str:
        docker.failing.append("docker exec")
        return ""

    docker.answers = {"docker compose up --detach --wait --no-build --no-deps": lose_model, **docker.answers}
    with pytest.raises(UpgradeError, match=r"serving-canary: expected its replicas to have a model .* found none"):
        stack.start()
    stack, docker = make_stack()
    docker.failing.append("docker exec")
    stack.start()
    assert list_changes(docker)[-1] == "up --no-deps --remove-orphans nginx"


def test_nothing_that_writes_runs_on_while_replicas_gateway_and_stores_do() -> None:
    stack, docker = make_stack()
    stack.stop_writers()
    assert list_changes(docker) == ["rm --stop --force airflow-scheduler mlflow preflight"]


def test_a_server_whose_mounted_file_has_changed_is_replaced_but_for_the_replicas() -> None:
    stack, docker = make_stack()
    changed = [
        "docker/postgres/pg_hba.conf",
        "docker/nginx/templates/default",
        "ml_code/catalog/iris.toml",
        "README.md",
    ]
    stale = stack.find_stale([CHECKOUT / name for name in changed])
    assert set(stale) == {"postgres", "nginx", "serving", "serving-canary", "airflow-scheduler"}
    stack.start(stale)
    removed = [command for command in list_changes(docker) if command.startswith("rm")]
    assert removed == ["rm --stop --force airflow-scheduler postgres", "rm --stop --force nginx"]


def test_the_images_that_run_keep_a_name_that_a_build_does_not_take() -> None:
    stack, docker = make_stack()
    images = stack.tag_images()
    assert images == {"mlops-loop/airflow:dev": "sha256:a", "mlops-loop/serving:dev": "sha256:s"}
    stack.put_images_back(images)
    stack.untag_images(images)
    assert list_changes(docker) == [
        "tag sha256:a mlops-loop/airflow:dev-before",
        "tag sha256:s mlops-loop/serving:dev-before",
        "tag mlops-loop/airflow:dev-before mlops-loop/airflow:dev",
        "tag mlops-loop/serving:dev-before mlops-loop/serving:dev",
        "image rm mlops-loop/airflow:dev-before",
        "image rm mlops-loop/serving:dev-before",
        "image prune --force --filter label=org.opencontainers.image.title=mlops-loop",
    ]


def test_a_start_that_fails_says_what_the_job_that_failed_said() -> None:
    init = describe_container("airflow-init", "mlops-loop/airflow:dev", CHECKOUT, status="exited")
    init["State"]["ExitCode"] = 1
    stack, docker = make_stack(init)
    docker.answers["docker logs"] = "database airflow: migrated\n"
    docker.errors["docker logs"] = "FAIL: warehouse: expected the migration 9 to be applied\n"
    docker.failing.append("docker compose up")
    said = "airflow-init: database airflow: migrated FAIL: warehouse: expected the migration 9 to be applied"
    with pytest.raises(EngineError, match=f"docker compose up.*; {said}"):
        stack.start()


def test_the_files_of_a_profile_and_the_commit_are_told_to_compose() -> None:
    stack, docker = make_stack()
    stack.project.files, stack.project.commit = ("docker-compose.yaml", "docker/celery/compose.yaml"), "abc"
    stack.open_database()
    environment = docker.environments[-1]
    assert environment["COMPOSE_FILE"] == "docker-compose.yaml:docker/celery/compose.yaml"
    assert environment["GIT_COMMIT"] == "abc"
