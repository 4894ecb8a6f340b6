"""Each alert has a severity, a section of the runbook and a test in which it fires."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.repo.repository import ROOT, find_files

RULES: list[dict[str, Any]] = [
    rule
    for file in find_files("docker/observability/prometheus/rules/*.yml")
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
TESTS = [
    test["alertname"]
    for file in find_files("tests/integration/observability/*.yml")
    for case in yaml.safe_load(file.read_text())["tests"]
    for test in case.get("alert_rule_test", [])
    if test["exp_alerts"]
]


def test_no_alert_has_the_name_of_another() -> None:
    assert len(ALERTS) == len([rule for rule in RULES if "alert" in rule]) >= 15


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_tells_how_grave_it_is_and_where_to_read_on(name: str) -> None:
    assert ALERTS[name]["labels"]["severity"] in {"critical", "warning"}
    assert ALERTS[name]["annotations"]["summary"]
    assert ALERTS[name]["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert list(SECTIONS) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_section_says_what_it_means_how_to_look_what_to_do_and_how_to_silence(name: str) -> None:
    assert re.findall(r"^- \*\*(\w+)\*\*: \S", SECTIONS[name], re.MULTILINE) == ["Means", "Look", "Do", "Silence"]


def test_each_alert_fires_in_a_test() -> None:
    assert set(TESTS) == set(ALERTS)
