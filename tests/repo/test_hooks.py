"""Rules of the hooks before a commit, and of the files that other tools read."""

from __future__ import annotations

import json
import re

import yaml

from tests.repo.repository import ROOT, find_files

HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
MAKEFILE = (ROOT / "Makefile").read_text()


def list_entries() -> list[str]:
    """The programs of the hooks, with the first word of their arguments if it is not an option."""
    entries = [hook["entry"].removeprefix(".venv/bin/").split() for repo in HOOKS for hook in repo["hooks"]]
    return [" ".join(words[:2]) if words[1:] and words[1].isalpha() else words[0] for words in entries]


def test_no_hook_is_downloaded() -> None:
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    assert all(hook["language"] == "system" for repo in HOOKS for hook in repo["hooks"])


def test_the_hooks_are_the_commands_of_make_check() -> None:
    recipe = MAKEFILE.partition("\ncheck: ")[2].partition("\n\n")[0]
    commands = re.findall(r"^\t\$\(RUN\) (\w[\w-]*(?: [a-z]+\b)?)", recipe, flags=re.MULTILINE)
    assert len(commands) >= 7
    assert sorted([*commands, "python"]) == sorted(list_entries())


def test_the_ports_of_the_development_container_are_those_of_the_stack() -> None:
    text = re.sub(r"^\s*//.*$", "", (ROOT / ".devcontainer/devcontainer.json").read_text(), flags=re.MULTILINE)
    ports = {str(port) for port in json.loads(text)["forwardPorts"]}
    example = dict(re.findall(r"^(\w+_PORT)=(\d+)$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert ports == {example[name] for name in ("GATEWAY_PORT", "AIRFLOW_PORT", "MLFLOW_PORT", "MINIO_CONSOLE_PORT")}


def test_renovate_finds_every_image_and_the_date_of_the_lock() -> None:
    renovate = json.loads((ROOT / "renovate.json").read_text())
    [manager] = renovate["customManagers"]
    pattern = re.sub(r"\(\?<", "(?P<", manager["matchStrings"][0])
    example = (ROOT / ".env.example").read_text()
    assert len(re.findall(pattern, example)) == len(re.findall(r"^\w+_IMAGE=", example, flags=re.MULTILINE)) > 4
    patterns = [text.strip("/") for text in manager["managerFilePatterns"]]
    naming = [file for file in find_files("*.yaml", "docker/**/*.yaml", "Dockerfile") if "_IMAGE" in file.read_text()]
    assert len(naming) >= 3
    for file in naming:
        assert any(re.search(pattern, file.relative_to(ROOT).as_posix()) for pattern in patterns), file
    tasks = [rule["postUpgradeTasks"]["commands"] for rule in renovate["packageRules"] if "postUpgradeTasks" in rule]
    assert tasks == [["make update"]]
