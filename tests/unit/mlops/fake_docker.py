"""Docker and git as the project of a checkout calls them: notes each command, and answers from a few tables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

type Answer = str | Callable[[list[str]], str]


class FakeDocker:
    """Answers a command by the first words that it begins with; `failing` words make one fail.

    >>> docker = FakeDocker({"docker compose config": "{}"})
    >>> ComposeProject(checkout / ".env", docker.run).read()
    {}
    """

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.failing: list[str] = []
        self.errors: dict[str, str] = {}
        self.commands: list[str] = []
        self.env_files: set[str] = set()
        """Those that Compose was told; the commands are noted without them."""
        self.environments: list[Mapping[str, str]] = []

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if command[1] == "compose":
            assert command[2] == "--env-file"
            self.env_files.add(command[3])
            command = command[:2] + command[4:]
        text = " ".join(command)
        self.commands.append(text)
        self.environments.append(options.get("env") or {})
        if any(words in text for words in self.failing):
            return subprocess.CompletedProcess(command, 1, "", "no room")
        for words, answer in self.answers.items():
            if text.startswith(words):
                return subprocess.CompletedProcess(
                    command, 0, answer if isinstance(answer, str) else answer(command), self.errors.get(words, "")
                )
        return subprocess.CompletedProcess(command, 0, "", "")


def describe_container(
    service: str, image: str, checkout: Path, *, image_id: str = "", **changes: Any
) -> dict[str, Any]:
    """A container as `docker inspect` describes it."""
    labels = {
        "com.docker.compose.service": service,
        "com.docker.compose.project.working_dir": str(checkout),
        "com.docker.compose.project.config_files": str(checkout / "docker-compose.yaml"),
    }
    return {
        "Id": f"id-of-{service}",
        "Image": image_id or f"sha256:{image}",
        "Config": {"Labels": labels, "Image": image, "Env": changes.get("environment", [])},
        "State": {"Status": changes.get("status", "running"), "Health": {"Status": changes.get("health", "healthy")}},
    }


def answer_stack(*containers: dict[str, Any], config: Mapping[str, Any] | None = None) -> dict[str, Answer]:
    """The answers of a project with these containers."""
    return {
        "docker compose config": json.dumps(config or {"name": "mlops-loop", "services": {}}),
        "docker ps": "\n".join(container["Id"] for container in containers),
        "docker inspect": json.dumps(containers),
        "docker image inspect": lambda command: f"sha256:{command[-1]}\n",
    }
