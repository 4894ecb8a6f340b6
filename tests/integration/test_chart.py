"""The chart for Kubernetes, rendered by Helm and checked by the schemas of three versions; no cluster is involved."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "docker/kubernetes/chart"
PINS = ROOT / "docker/requirements/chart.txt"
VERSIONS = ["1.35", "1.36", "1.37"]
POD_KINDS = {"Deployment", "Job"}

VALUES = {
    "images": {"registry": "registry.example.com:5000/team", "tag": "0.1.0"},
    "existingSecret": "mlops-loop",
    "database": {"host": "postgres-rw"},
    "store": {"endpointUrl": "http://minio:9000"},
}
INGRESS = {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a.example.com/b": "c"}}
SWITCHES: list[list[dict[str, Any]]] = [
    [{"serving": {"autoscaling": {"enabled": is_on}}} for is_on in (True, False)],
    [{"serving": {"disruptionBudget": is_on}} for is_on in (True, False)],
    [{"canary": {"enabled": is_on}} for is_on in (True, False)],
    [{"predictionLog": {"existingClaim": claim}} for claim in ("", "prediction-log")],
    [{"gateway": {"disruptionBudget": is_on}} for is_on in (True, False)],
    [{"gateway": {"ingress": ingress}} for ingress in ({"enabled": False}, {"enabled": True}, INGRESS)],
    [{"jobs": {"storage": is_on}} for is_on in (True, False)],
    [{"jobs": {"airflow": is_on}} for is_on in (True, False)],
    [
        {"networkPolicy": {"enabled": False}},
        {"networkPolicy": {"enabled": True}},
        {"networkPolicy": {"mlflowNamespaces": {"team": "ml"}}, "store": {"endpointUrl": "https://s3.example.com"}},
    ],
    [
        {},
        {
            "images": {"pullSecrets": ["registry"], "nginx": f"nginx:1.30.6@sha256:{'0' * 64}"},
            "gateway": {"trustedProxies": ["10.0.0.0/8"]},
        },
    ],
]
REFUSED: dict[str, dict[str, Any]] = {
    "additional properties 'replica' not allowed": {"serving": {"replica": 3}},
    "additional properties 'servin' not allowed": {"servin": {"replicas": 3}},
    "at '/existingSecret': '' does not match": {"existingSecret": ""},
    "at '/images/tag'": {"images": {"tag": "latest"}},
    "at '/images/nginx'": {"images": {"nginx": "nginx"}},
    "at '/serving/replicas'": {"serving": {"replicas": 0}},
    "at '/canary/enabled'": {"canary": {"enabled": "yes"}},
    "at '/store/endpointUrl'": {"store": {"endpointUrl": "minio:9000"}},
    "at '/database/host'": {"database": {"host": ""}},
    "missing property 'limits'": {"serving": {"resources": {"limits": None}}},
}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}
BROKEN: dict[str, dict[str, Any]] = {
    "1.37: Service spec: Additional properties are not allowed": {**SERVICE, "spec": {"selectr": {"a": "b"}}},
    "1.37: no schema of example.com/v1 Thing": {"apiVersion": "example.com/v1", "kind": "Thing"},
}


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.long)], ids=["pairs", "all"])
def answer(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the program found, of each pair of settings or of all their combinations."""
    folder = ROOT / "build/chart-env"
    stamp, python = folder / "installed", folder / "bin/python"
    if not stamp.is_file() or stamp.read_text() != PINS.read_text():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        install = ["pip", "install", "--quiet", "--no-deps", "--require-hashes", "-p", python, "-r", PINS]
        subprocess.run([uv, *install], check=True)
        stamp.write_text(PINS.read_text())
    question = {
        "values": VALUES, "switches": SWITCHES, "versions": VERSIONS,
        "all_combinations": request.param, "refused": list(REFUSED.values()), "broken": list(BROKEN.values()),
    }  # fmt: skip
    program = [python, Path(__file__).parent / "chart/render.py", CHART]
    done = subprocess.run(program, input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def objects(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return list(answer["objects"])


@pytest.fixture(scope="module")
def combinations(answer: dict[str, Any], objects: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [[objects[number] for number in numbers] for numbers in answer["combinations"]]


@pytest.fixture(scope="module")
def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [item["spec"]["template"]["spec"] for item in objects if item["kind"] in POD_KINDS]
    assert len(found) >= 10
    return found


@pytest.fixture(scope="module")
def containers(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [container for pod in pods for container in pod["containers"]]


def test_every_object_of_every_combination_fits_three_versions(answer: dict[str, Any]) -> None:
    assert answer["problems"] == []
    assert len(answer["combinations"]) >= 9, "a pair of two switches with three settings each is in one of nine"
    assert {item["kind"] for item in answer["objects"]} == {
        *("Deployment", "Job", "ConfigMap", "Service", "Ingress"),
        *("PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"),
    }


def test_the_check_sees_a_misspelt_field_and_a_kind_without_a_schema(answer: dict[str, Any]) -> None:
    for expected, found in zip(BROKEN, answer["broken"], strict=True):
        assert len(found) == len(VERSIONS)
        assert found[-1].startswith(expected)


@pytest.mark.parametrize("reason", REFUSED)
def test_wrong_values_are_refused(answer: dict[str, Any], reason: str) -> None:
    assert reason in answer["refusals"][list(REFUSED).index(reason)]


def test_each_switch_changes_what_it_names(combinations: list[list[dict[str, Any]]]) -> None:
    kinds = [Counter(item["kind"] for item in combination) for combination in combinations]
    whole = {
        "Deployment": 4, "Service": 4, "ConfigMap": 5, "Job": 2, "PodDisruptionBudget": 2, "HorizontalPodAutoscaler": 1,
    }  # fmt: skip
    least = {kind: min(count[kind] for count in kinds) for kind in {*whole, "Ingress", "NetworkPolicy"}}
    most = {kind: max(count[kind] for count in kinds) for kind in least}
    assert least == {
        "Deployment": 3, "Service": 3, "ConfigMap": 5, "Job": 0, "PodDisruptionBudget": 0, "HorizontalPodAutoscaler": 0,
        "Ingress": 0, "NetworkPolicy": 0,
    }  # fmt: skip
    assert most == {**whole, "Ingress": 1, "NetworkPolicy": 6}


def test_every_image_has_a_tag_of_its_own(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        assert re.fullmatch(r".+/[^:]+:0\.1\.0|nginx:1\.30\.6(@sha256:0{64})?", container["image"])


def test_every_container_is_limited(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}


def test_every_server_is_probed(objects: list[dict[str, Any]]) -> None:
    for item in objects:
        if item["kind"] == "Deployment":
            for container in item["spec"]["template"]["spec"]["containers"]:
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_no_pod_runs_as_root_or_writes_its_root(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 50000
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip


def test_no_service_shows_up_in_the_environment(pods: list[dict[str, Any]]) -> None:
    """A Service `serving` would set SERVING_PORT to an address, and `mlflow` MLFLOW_PORT."""
    assert {pod["enableServiceLinks"] for pod in pods} == {False}


def test_a_secret_comes_from_the_one_secret_and_has_the_name_of_env(containers: list[dict[str, Any]]) -> None:
    example = (ROOT / ".env.example").read_text()
    names = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", example, flags=re.MULTILINE))
    secret = re.compile(r"PASSWORD|SECRET|_KEY|TOKEN")
    found = set()
    for container in containers:
        for variable in container["env"]:
            is_user = variable["name"] in ("AWS_ACCESS_KEY_ID", "MLOPS_S3_ACCESS_KEY") and "value" in variable
            if secret.search(variable["name"]) and not is_user:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == "mlops-loop"
                found.add(reference["key"])
    assert len(found) >= 15
    assert found <= names


def test_a_service_lists_pods_that_there_are(combinations: list[list[dict[str, Any]]]) -> None:
    for combination in combinations:
        labels = [
            item["spec"]["template"]["metadata"]["labels"].items()
            for item in combination
            if item["kind"] == "Deployment"
        ]
        for item in combination:
            if item["kind"] == "Service":
                assert sum(item["spec"]["selector"].items() <= of_pod for of_pod in labels) == 1


def test_the_replicas_are_listed_before_they_are_ready(objects: list[dict[str, Any]]) -> None:
    """A rollout waits for each of them, and the gateway asks a full name that has each of their addresses."""
    headless = {item["metadata"]["name"] for item in objects if item["kind"] == "Service" and is_headless(item)}
    assert headless == {"mlops-serving", "mlops-serving-canary"}
    gateways = [
        item for item in objects if item["metadata"]["name"] == "mlops-gateway" and item["kind"] == "Deployment"
    ]
    hosts = [read_environment(item) for item in gateways]
    assert {found["STABLE_HOST"] for found in hosts} == {"mlops-serving.ml.svc.cluster.local"}
    assert {(found["CANARY_HOST"], found["CANARY_PERCENT"]) for found in hosts} == {
        ("mlops-serving-canary.ml.svc.cluster.local", "10"), ("mlops-serving.ml.svc.cluster.local", "0"),
    }  # fmt: skip


def is_headless(service: dict[str, Any]) -> bool:
    return service["spec"].get("clusterIP") == "None" and service["spec"]["publishNotReadyAddresses"] is True


def read_environment(item: dict[str, Any]) -> dict[str, str]:
    [container] = item["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def test_replicas_are_scaled_by_one_of_two(combinations: list[list[dict[str, Any]]]) -> None:
    for combination in combinations:
        scaled = [item for item in combination if item["kind"] == "HorizontalPodAutoscaler"]
        deployments = [item for item in combination if item["kind"] == "Deployment"]
        [serving] = [item for item in deployments if item["metadata"]["name"] == "mlops-serving"]
        assert ("replicas" in serving["spec"]) is not bool(scaled)
        for item in scaled:
            assert item["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60


def test_the_replicas_reach_mlflow_alone(objects: list[dict[str, Any]]) -> None:
    policies = [item for item in objects if item["kind"] == "NetworkPolicy" and "serving" in item["metadata"]["name"]]
    assert policies
    for policy in policies:
        dns, mlflow = policy["spec"]["egress"]
        assert {port["port"] for port in dns["ports"]} == {53}
        [target] = mlflow["to"]
        assert target["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "mlflow"
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_port_for_programs_is_reached_by_airflow_alone(objects: list[dict[str, Any]]) -> None:
    policies = [
        item for item in objects if item["kind"] == "NetworkPolicy" and item["metadata"]["name"] == "mlops-gateway"
    ]
    assert policies
    for policy in policies:
        people, programs = policy["spec"]["ingress"]
        assert people == {"ports": [{"port": 8000}]}
        assert programs == {"from": [{"podSelector": {"matchLabels": {"tier": "airflow"}}}], "ports": [{"port": 8001}]}


def test_the_gateway_has_the_files_of_compose(objects: list[dict[str, Any]]) -> None:
    maps = {item["metadata"]["name"]: item["data"] for item in objects if item["kind"] == "ConfigMap"}
    nginx = ROOT / "docker/nginx"
    assert maps["mlops-gateway-settings"]["nginx.conf"] == (nginx / "nginx.conf").read_text()
    for folder in ("templates", "programs", "html"):
        files = {file.name: file.read_text() for file in (nginx / folder).iterdir()}
        assert maps[f"mlops-gateway-{folder}"] == files
    assert maps["mlops-gateway-start"] == {file.name: file.read_text() for file in nginx.glob("*.sh")}


def test_the_values_for_airflow_repeat_the_settings_of_the_image() -> None:
    """The official chart mounts its own airflow.cfg over the one of the image."""
    ours = configparser.ConfigParser(interpolation=None)
    ours.read(ROOT / "docker/airflow/airflow.cfg")
    values = yaml.safe_load((ROOT / "docker/kubernetes/airflow-values.yaml").read_text())
    for section in ours.sections():
        assert dict(ours[section]).items() <= values["config"][section].items()
    assert len(ours.sections()) >= 8


def test_the_values_for_airflow_name_what_this_chart_makes(objects: list[dict[str, Any]]) -> None:
    values = yaml.safe_load((ROOT / "docker/kubernetes/airflow-values.yaml").read_text())
    variables = {variable["name"]: variable.get("value", "") for variable in values["workers"]["env"]}
    services = {item["metadata"]["name"] for item in objects if item["kind"] == "Service"}
    named = set(re.findall(r"mlops-[a-z-]+", " ".join(variables.values())))
    assert named == services
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    known = set(compose["services"]["airflow-scheduler"]["environment"])
    assert {name for name in variables if name.startswith(("MLOPS_", "ROLLOUT_"))} <= known
