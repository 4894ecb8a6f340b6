"""docker/observability/alertmanager/start.sh, up to the program that it starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

SCRIPT = Path(__file__).parents[3] / "docker/observability/alertmanager/start.sh"
NOTHING = dict.fromkeys(
    ("SLACK_WEBHOOK_URL", "ALERT_EMAIL_TO", "SMTP_ADDRESS", "SMTP_FROM", "SMTP_USERNAME", "SMTP_PASSWORD"), ""
)
SLACK = "https://hooks.slack.com/services/T0/B0/secret"


def start(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with a program that shows its arguments in place of Alertmanager."""
    (folder / "alertmanager").write_text('#!/bin/sh\necho "$@"\n')
    (folder / "alertmanager").chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}", "SETTINGS_FOLDER": str(folder)}
    environment = {**NOTHING, **settings, **path}
    return subprocess.run(["sh", SCRIPT], env=environment, capture_output=True, text=True, check=False)


def read_receiver(folder: Path, **settings: str) -> dict[str, Any]:
    done = start(folder, **settings)
    assert done.returncode == 0, done.stderr
    assert f"--config.file={folder}/alertmanager.yml" in done.stdout
    written = yaml.safe_load((folder / "alertmanager.yml").read_text())
    [receiver] = written["receivers"]
    assert written["route"]["receiver"] == receiver["name"]
    found: dict[str, Any] = receiver
    return found


def test_without_an_address_nobody_is_told(tmp_path: Path) -> None:
    assert read_receiver(tmp_path) == {"name": "team"}


def test_slack_is_told_when_an_alert_fires_and_when_it_has_ended(tmp_path: Path) -> None:
    [slack] = read_receiver(tmp_path, SLACK_WEBHOOK_URL=SLACK)["slack_configs"]
    assert slack["send_resolved"] is True
    assert (tmp_path / "slack").read_text() == SLACK
    assert slack["api_url_file"] == f"{tmp_path}/slack"
    assert "{{ .Annotations.summary }} ({{ .Annotations.runbook }})\n" in slack["text"]


def test_mail_goes_through_the_server_of_the_settings(tmp_path: Path) -> None:
    mail = {"ALERT_EMAIL_TO": "team@ml.example", "SMTP_ADDRESS": "mail.example:587"}
    [plain] = read_receiver(tmp_path, **mail)["email_configs"]
    assert plain == {
        "to": "team@ml.example",
        "from": "team@ml.example",
        "smarthost": "mail.example:587",
        "send_resolved": True,
    }
    login = {"SMTP_FROM": "loop@ml.example", "SMTP_USERNAME": "loop", "SMTP_PASSWORD": "it's: {a} secret"}
    [signed] = read_receiver(tmp_path, **mail, **login)["email_configs"]
    assert (signed["from"], signed["auth_username"]) == ("loop@ml.example", "loop")
    assert Path(signed["auth_password_file"]).read_text() == login["SMTP_PASSWORD"]


def test_a_secret_is_written_for_its_owner_alone_and_not_into_the_settings(tmp_path: Path) -> None:
    read_receiver(tmp_path, SLACK_WEBHOOK_URL=SLACK, SMTP_PASSWORD="word-of-mail")
    written = (tmp_path / "alertmanager.yml").read_text()
    assert SLACK not in written
    assert "word-of-mail" not in written
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("slack", "smtp", "alertmanager.yml")} == {0o600}


@pytest.mark.parametrize("name", ["ALERT_EMAIL_TO", "SMTP_ADDRESS", "SMTP_FROM", "SMTP_USERNAME"])
def test_a_setting_that_would_be_read_as_more_stops_the_start(tmp_path: Path, name: str) -> None:
    done = start(tmp_path, **{name: "a' }\n    b: c"})
    assert done.returncode == 1
    assert done.stderr.startswith("FAIL: ALERT_EMAIL_TO, SMTP_...: expected letters")
