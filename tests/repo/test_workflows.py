"""Rules of the workflows: a developer's commands, and the least rights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo.repository import ROOT, find_files, list_make_targets

WORKFLOWS = find_files(".github/workflows/*")
per_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)


def load(workflow: Path) -> dict[Any, Any]:
    """Reads a workflow; YAML 1.1 reads its key `on` as true."""
    read: dict[Any, Any] = yaml.safe_load(workflow.read_text())
    return {**read, "on": read[True]}


def list_steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in load(workflow)["jobs"].values() for step in job["steps"]]


def test_there_are_three_workflows() -> None:
    assert {file.name for file in WORKFLOWS} == {"ci.yml", "nightly.yml", "release.yml"}


@per_workflow
def test_a_step_runs_a_make_target_or_a_pinned_action(workflow: Path) -> None:
    for step in list_steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"]), step
        else:
            target = re.match(r"make ([a-z-]+)", step["run"])
            assert target, step
            assert target[1] in list_make_targets()


@per_workflow
def test_an_action_names_its_version(workflow: Path) -> None:
    uses = re.findall(r"uses: \S+(.*)$", workflow.read_text(), flags=re.MULTILINE)
    assert uses
    assert all(re.fullmatch(r"  # v\d+\.\d+\.\d+", rest) for rest in uses)


@per_workflow
def test_a_job_has_the_least_rights_and_an_end(workflow: Path) -> None:
    assert load(workflow)["permissions"] == {"contents": "read"}
    for name, job in load(workflow)["jobs"].items():
        assert job["timeout-minutes"] <= 120
        assert job.get("permissions", {"contents": "read"})["contents"] == "read"
        if workflow.name == "ci.yml":
            assert "permissions" not in job, name


@per_workflow
def test_no_value_of_an_event_is_pasted_into_a_shell(workflow: Path) -> None:
    assert [step["run"] for step in list_steps(workflow) if "${{" in step.get("run", "")] == []


@per_workflow
def test_a_checkout_leaves_no_token_behind(workflow: Path) -> None:
    checkouts = [step for step in list_steps(workflow) if "actions/checkout" in step.get("uses", "")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_ci_runs_the_tests_on_every_push_and_pull_request() -> None:
    ci = ROOT / ".github/workflows/ci.yml"
    assert {"push", "pull_request"} <= set(load(ci)["on"])
    assert "make test" in {step.get("run") for step in list_steps(ci)}


def test_the_jobs_of_ci_run_every_part_of_make_test() -> None:
    job = load(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]
    assert job["env"]["PARTS"] == "${{ matrix.parts }}"
    makefile = (ROOT / "Makefile").read_text()
    parts = re.findall(r"^PARTS \?= (.*)$", makefile, flags=re.MULTILINE)
    assert sorted(" ".join(job["strategy"]["matrix"]["parts"]).split()) == sorted(parts[0].split())
    assert "-m tests.run $(PARTS)" in makefile


def test_ci_runs_the_long_tests_at_night_alone() -> None:
    ci = load(ROOT / ".github/workflows/ci.yml")
    assert "schedule" in ci["on"]
    assert ci["jobs"]["long"]["if"] == "github.event_name == 'schedule'"
    assert ci["jobs"]["long"]["steps"][-1]["run"] == "make test-long"


def test_ci_runs_the_demo_as_a_newcomer_does() -> None:
    ci = load(ROOT / ".github/workflows/ci.yml")
    assert ci["jobs"]["newcomer"]["steps"][-1]["run"] == "make newcomer"


def test_ci_has_the_python_of_the_project() -> None:
    versions = [
        step["with"].get("python-version-file")
        for step in list_steps(ROOT / ".github/workflows/ci.yml")
        if "setup-python" in step.get("uses", "")
    ]
    assert set(versions) == {".python-version"}


def test_a_release_checks_its_tag_first_and_signs_every_image() -> None:
    steps = list_steps(ROOT / ".github/workflows/release.yml")
    runs = [step["run"] for step in steps if "run" in step]
    assert runs[0].startswith("make release-check TAG=")
    signed = [step["with"]["subject-digest"] for step in steps if "attest-build-provenance" in step.get("uses", "")]
    published = re.findall(
        r"^  @?for target in (.*); do", (ROOT / "Makefile").read_text().replace("\t", "  "), re.MULTILINE
    )
    assert [re.findall(r"outputs\.(\w+)", digest) for digest in signed] == [[name] for name in published[-1].split()]


def test_the_packages_and_the_images_are_scanned_every_night() -> None:
    nightly = load(ROOT / ".github/workflows/nightly.yml")
    assert "schedule" in nightly["on"]
    assert nightly["jobs"]["packages"]["steps"][-1]["run"] == "make audit"
    assert sorted(nightly["jobs"]["images"]["strategy"]["matrix"]["target"]) == ["airflow", "mlflow", "serving"]
    assert nightly["jobs"]["images"]["steps"][-1]["with"]["severity-cutoff"] == "high"


def test_an_audit_of_nothing_fails() -> None:
    """Without `--strict` pip-audit ends with 0 where it could look up no package."""
    audit = re.findall(r"pip-audit .*", (ROOT / "Makefile").read_text())
    assert len(audit) == 1
    assert "--strict" in audit[0].split()


def test_a_release_starts_with_a_version_tag_only() -> None:
    assert load(ROOT / ".github/workflows/release.yml")["on"] == {"push": {"tags": ["v*"]}}
