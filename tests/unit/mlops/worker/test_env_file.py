"""What a worker on another host is told: the passwords that its tasks need, and none of the house."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dotenv import dotenv_values

from mlops.errors import WorkerError
from mlops.worker.env_file import REQUIRED, format_settings, list_settings
from mlops.worker.release import Release

RELEASE = Release("0.4.0", "0123456789ab", "ba9876543210")
ROOT = Path(__file__).parents[4]
EXAMPLE = {name: value or "" for name, value in dotenv_values(ROOT / ".env.example", interpolate=False).items()}
STACK = {name: f"random-{name.lower()}" if value.startswith("insecure-") else value for name, value in EXAMPLE.items()}
STACK |= {"WORKERS_ADDRESS": "10.0.0.5"}


def test_the_passwords_of_the_tasks_are_told_and_no_other_secret() -> None:
    told = list_settings(STACK, None, RELEASE, "abc")
    secrets = {name for name, value in EXAMPLE.items() if value.startswith("insecure-")}
    assert secrets & set(told) == set(REQUIRED)
    assert not any(secret in json.dumps(told) for name, secret in STACK.items() if name in secrets - set(REQUIRED))


def test_every_secret_of_the_workers_file_is_told_and_no_more() -> None:
    text = (ROOT / "docker/celery/worker.yaml").read_text()
    asked = {name for name in list_settings(STACK, None, RELEASE, "abc") if f"${{{name}:" in text}
    assert set(list_settings(STACK, None, RELEASE, "abc")) == asked


def test_the_address_of_the_settings_counts_unless_another_is_named() -> None:
    assert list_settings(STACK, None, RELEASE, "")["STACK_ADDRESS"] == "10.0.0.5"
    assert list_settings(STACK, "10.9.9.9", RELEASE, "")["STACK_ADDRESS"] == "10.9.9.9"


def test_a_name_becomes_the_address_that_it_has_here() -> None:
    assert list_settings(STACK, "localhost", RELEASE, "")["STACK_ADDRESS"] in {"127.0.0.1", "::1"}


def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(WorkerError, match=r"--host no-such-host\.invalid: expected .* does not resolve"):
        list_settings(STACK, "no-such-host.invalid", RELEASE, "")


def test_without_an_address_the_error_tells_the_setting() -> None:
    with pytest.raises(WorkerError, match=r"WORKERS_ADDRESS: expected .* found none"):
        list_settings(STACK | {"WORKERS_ADDRESS": ""}, None, RELEASE, "")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_secret_is_named(name: str) -> None:
    with pytest.raises(WorkerError, match=f"found no {name}"):
        list_settings(STACK | {name: ""}, None, RELEASE, "")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_published_secret_does_not_leave_this_host(name: str) -> None:
    with pytest.raises(WorkerError, match=f"found {name} of .env.example"):
        list_settings(STACK | {name: EXAMPLE[name]}, None, RELEASE, "")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain-09", "plain-09"),
        ("with space", "'with space'"),
        ("a#b", "'a#b'"),
        ("$HOME ${A}", "'$HOME ${A}'"),
        ("it's", r"'it\'s'"),
        ("back\\slash", r"'back\slash'"),
        ("ends\\", None),
        (r"it\'s", None),
    ],
)
def test_a_value_is_quoted_as_compose_reads_it_or_refused(value: str, written: str | None) -> None:
    settings = {"S3_TASKS_PASSWORD": value, "NEXT": "one"}
    if written is None:
        with pytest.raises(WorkerError, match=r"expected no backslash .* in S3_TASKS_PASSWORD; choose") as refused:
            format_settings(settings)
        assert value not in str(refused.value)
    else:
        assert format_settings(settings).splitlines()[1:] == [f"S3_TASKS_PASSWORD={written}", "NEXT=one"]


def test_a_value_of_several_lines_is_refused() -> None:
    with pytest.raises(WorkerError, match="found several in S3_TASKS_PASSWORD"):
        format_settings({"S3_TASKS_PASSWORD": "one\nNEXT=two"})
