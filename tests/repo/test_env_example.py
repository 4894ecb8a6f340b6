"""Rules of .env.example: it is complete, explained, and without secrets."""

from __future__ import annotations

import re
import subprocess

from tests.repo.repository import ROOT, find_files

LINES = (ROOT / ".env.example").read_text().splitlines()
VALUES = dict(line.split("=", 1) for line in LINES if re.match(r"[A-Z]", line))
COMPOSE = "\n".join(file.read_text() for file in find_files("docker-compose.yaml", "docker/*/compose.yaml"))
USED = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE))


def test_every_variable_of_compose_is_in_it() -> None:
    exported_by_make = set(re.findall(r"^export (\w+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert USED - exported_by_make - set(VALUES) == set()


def test_every_variable_in_it_is_used() -> None:
    scripts = "\n".join(file.read_text() for file in find_files("docker/bin/*.sh", "mlops/host.py", "Makefile"))
    unused = {name for name in set(VALUES) - USED if not re.search(rf"\b{name}\b", scripts)}
    assert unused == set()


def test_every_variable_has_a_comment_of_its_own() -> None:
    bare = [
        line
        for before, line in zip(["", *LINES], LINES, strict=False)
        if line and line[0].isupper() and before[:1] != "#"
    ]
    assert bare == []


def test_it_shows_the_default_of_compose() -> None:
    defaults = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", COMPOSE))
    # With `:-` an empty value means the default.
    shown = {name: VALUES.get(name) or default for name, default in defaults.items()}
    differing = {name: (shown[name], default) for name, default in defaults.items() if shown[name] != default}
    assert differing == {}


def test_it_shows_the_default_name_of_the_project() -> None:
    assert f"\nname: {VALUES['COMPOSE_PROJECT_NAME']}\n" in COMPOSE


def test_a_secret_is_marked_as_insecure() -> None:
    required = set(re.findall(r"\$\{([A-Z0-9_]+):\?", COMPOSE)) - {"MINIO_ROOT_USER"}
    assert required
    assert {name for name in required if not VALUES[name].startswith("insecure-")} == set()


def test_it_has_the_names_that_users_rely_on() -> None:
    assert {
        "BIND_ADDRESS", "TIMEZONE", "AIRFLOW_UID", "AIRFLOW_ADMIN_USERNAME", "AIRFLOW_ADMIN_PASSWORD",
        "MLFLOW_ADMIN_USERNAME", "MLFLOW_ADMIN_PASSWORD", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "S3_IMAGE",
        "S3_ENDPOINT_URL", "CANARY_PERCENT", "DEFAULT_MODEL", "SLACK_WEBHOOK_URL", "KMA_SERVICE_KEY", "PUBLIC_HOST",
        "COMPOSE_PROJECT_NAME",
    } <= set(VALUES)  # fmt: skip


def test_git_ignores_settings_and_their_unfinished_copies_and_not_the_example() -> None:
    names = (".env", ".env.ab12_x", ".env.example")
    command = ["git", "check-ignore", "--no-index", *names]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout.split() == list(names[:2]), found.stderr
