"""Rules for every service of docker-compose.yaml, and of each profile where it differs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.repo.repository import (
    CELERY_FILE,
    OBSERVABILITY_FILE,
    ROOT,
    list_celery_services,
    list_profile_services,
    list_services,
    read_compose,
)

SERVICES = list_services()
CELERY = list_celery_services()
OBSERVABILITY = list_profile_services(OBSERVABILITY_FILE)
CHANGED = {
    f"{name} with {profile}": service
    for profile, services in (("celery", CELERY), ("observability", OBSERVABILITY))
    for name, service in services.items()
    if service != SERVICES.get(name)
}
FORMS = SERVICES | CHANGED
ONE_SHOTS = {name for name, service in SERVICES.items() if service.get("restart") == "no"}
LONG_RUNNING = {name for name, service in FORMS.items() if service.get("restart") != "no"}
FILES = [(ROOT / name).read_text() for name in ("docker-compose.yaml", CELERY_FILE, OBSERVABILITY_FILE)]

PINNED_IMAGE = re.compile(r"\$\{([A-Z0-9_]+_IMAGE):-[a-z0-9./-]+:(?!latest\})[A-Za-z0-9][A-Za-z0-9._-]*\}")
BUILT_IMAGE = re.compile(r"mlops-loop/(airflow|mlflow|serving):\$\{IMAGE_TAG:-dev\}")
LOOPBACK_PORT = re.compile(
    r"(127\.0\.0\.1|\$\{(?:BIND|PROGRAMS)_ADDRESS:-127\.0\.0\.1\}):\$\{[A-Z0-9_]+_PORT:-\d+\}:\d+"
)
SECRET = re.compile(r"PASSWORD|SECRET|_KEY|TOKEN|WEBHOOK")


@pytest.fixture(params=sorted(FORMS))
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return FORMS[request.param]


def test_the_stack_has_services_of_both_kinds() -> None:
    assert len(LONG_RUNNING) >= 10
    assert {"preflight", "database-init", "storage-init", "storage-users", "airflow-init"} == ONE_SHOTS


def test_every_secret_is_checked_before_a_service_is_published() -> None:
    example = (ROOT / ".env.example").read_text().splitlines()
    secrets = {line.partition("=")[0] for line in example if "=insecure-" in line and not line.startswith("#")}
    assert len(secrets) >= 13
    assert secrets <= {*CELERY["preflight"]["environment"], *OBSERVABILITY["preflight"]["environment"]}
    for services in (SERVICES, CELERY, OBSERVABILITY):
        assert [name for name, service in services.items() if not service.get("depends_on")] == ["preflight"]


def test_an_image_is_built_here_or_pinned_and_settable(service: dict[str, Any]) -> None:
    assert BUILT_IMAGE.fullmatch(service["image"]) or PINNED_IMAGE.fullmatch(service["image"]), service["image"]


def test_an_image_is_built_by_one_service_and_never_pulled() -> None:
    """A second `build` section would leave the first image behind without a tag."""
    builders = [service["image"] for service in SERVICES.values() if "build" in service]
    used = {service["image"] for service in SERVICES.values() if BUILT_IMAGE.fullmatch(service["image"])}
    assert sorted(builders) == sorted(used) != []
    assert {service["pull_policy"] for service in SERVICES.values() if service["image"] in used} == {"never"}
    for service in SERVICES.values():
        if "build" in service:
            assert service["build"]["target"] == BUILT_IMAGE.fullmatch(service["image"])[1]


def test_all_images_have_one_pinned_base() -> None:
    bases = {service["build"]["args"]["PYTHON_IMAGE"] for service in SERVICES.values() if "build" in service}
    assert len(bases) == 1
    assert PINNED_IMAGE.fullmatch(base := bases.pop())
    assert f"ARG PYTHON_IMAGE={base.partition(':-')[2].removesuffix('}')}\n" in (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_uses_no_other_image() -> None:
    froms = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages = {stage for _, stage in froms}
    assert {"airflow", "mlflow", "serving"} <= stages
    assert {base for base, _ in froms} - stages == {"${PYTHON_IMAGE}"}


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_a_long_running_service_is_healthchecked_and_restarted(name: str) -> None:
    assert FORMS[name]["healthcheck"]["test"]
    assert FORMS[name]["restart"] == "unless-stopped"
    assert FORMS[name]["stop_grace_period"]


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_a_service_waits_for_each_one_shot(name: str) -> None:
    waiting = [
        other
        for other, service in SERVICES.items()
        if service.get("depends_on", {}).get(name, {}).get("condition") == "service_completed_successfully"
    ]
    assert waiting, "`up --wait` fails on a one-shot for which no service waits"


def test_a_service_waits_until_its_dependency_works(service: dict[str, Any]) -> None:
    for name, dependency in service.get("depends_on", {}).items():
        expected = "service_completed_successfully" if name in ONE_SHOTS else "service_healthy"
        assert dependency["condition"] == expected, name


def test_a_service_is_limited(service: dict[str, Any]) -> None:
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["cpu_shares"]
    assert service["logging"]["options"]["max-size"]
    assert service["logging"]["options"]["max-file"]


def test_a_service_is_hardened(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert "privileged" not in service
    assert "container_name" not in service


def test_a_port_is_published_on_loopback_and_settable(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert LOOPBACK_PORT.fullmatch(port), port


def test_the_gateway_alone_is_published_where_others_reach_it() -> None:
    wide = {name for name, service in SERVICES.items() if "${BIND_ADDRESS" in str(service.get("ports", []))}
    assert wide == {"nginx"}


def test_what_has_no_login_is_published_on_loopback_whatever_the_settings() -> None:
    assert OBSERVABILITY["prometheus"]["ports"] == ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"]
    assert OBSERVABILITY["alertmanager"]["ports"] == ["127.0.0.1:${ALERTMANAGER_PORT:-9093}:9093"]
    assert not [name for name in ("exporter", "postgres-exporter") if "ports" in OBSERVABILITY[name]]


def test_a_service_with_a_published_port_is_on_an_open_network(service: dict[str, Any]) -> None:
    internal = {name for name, network in read_compose()["networks"].items() if (network or {}).get("internal")}
    if "ports" in service:
        assert set(service["networks"]) - internal


def test_serving_reaches_neither_the_database_nor_the_store() -> None:
    for name in ("serving", "serving-canary", "nginx"):
        assert "data" not in SERVICES[name]["networks"]


def test_no_docker_socket_is_mounted() -> None:
    for file in ("docker-compose.yaml", CELERY_FILE, OBSERVABILITY_FILE, "Dockerfile"):
        assert "docker.sock" not in (ROOT / file).read_text()


def test_source_is_mounted_read_only(service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        if volume.startswith("."):
            assert volume.endswith(":ro"), volume


def test_a_secret_has_no_default() -> None:
    for name, rest in re.findall(r"\$\{([A-Z0-9_]+)([^}]*)\}", "\n".join(FILES)):
        if SECRET.search(name):
            assert rest.startswith(":?") or rest == ":-", f"{name}: expected :? or an empty default, found {rest!r}"


def test_the_error_of_a_missing_variable_tells_how_to_set_it() -> None:
    hints = set(re.findall(r":\?([^}]*)\}", "\n".join(FILES)))
    assert hints
    for hint in hints:
        assert "make env" in hint
        assert ".env.example" in hint


def test_the_gateway_receives_every_setting_that_it_checks() -> None:
    script = (ROOT / "docker/nginx/check-settings.sh").read_text()
    checked = set(re.findall(r"^require_\w+ ([A-Z_]+) ", script, flags=re.MULTILINE))
    for template in (ROOT / "docker/nginx/templates").iterdir():
        assert set(re.findall(r"\$\{([A-Z_]+)\}", template.read_text())) <= checked
    assert checked <= set(SERVICES["nginx"]["environment"])


@pytest.mark.parametrize(
    "variable", ["MLOPS_PREDICTION_LOG_DIR", "SERVING_PREDICTION_LOG_DIR", "MLOPS_LOOP_STATUS_DIR"]
)
def test_a_service_that_is_told_of_a_folder_mounts_its_volume_there(variable: str) -> None:
    told = {name: service for name, service in FORMS.items() if variable in service.get("environment", {})}
    runners = {"airflow-scheduler", "airflow-worker with celery"}
    assert runners <= set(told) if variable.startswith("MLOPS_") else {"serving", "serving-canary"} <= set(told)
    for name, service in told.items():
        folder = service["environment"][variable]
        assert f"{folder.removeprefix('/var/lib/')}:{folder}" in service.get("volumes", []), name
