"""The settings that `mlops worker env` prints, as the real Compose reads them; needs Docker's command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from mlops.worker.env_file import format_settings


def test_compose_reads_each_value_of_a_workers_settings_as_it_is(tmp_path: Path) -> None:
    values = ["plain-09", "with space", "a#b", "$HOME ${A}", "it's", 'say "x"', r"a\b", r"a\\b", r"a\n"]
    settings = {f"V{number}": value for number, value in enumerate(values)}
    (tmp_path / ".env").write_text(format_settings(settings))
    asked = "".join(f"      {name}: ${{{name}}}\n" for name in settings)
    (tmp_path / "compose.yaml").write_text(f"services:\n  one:\n    image: one\n    environment:\n{asked}")
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, str] = json.loads(done.stdout)["services"]["one"]["environment"]
    # What Compose prints, Compose can read again: a dollar is two.
    assert {name: value.replace("$$", "$") for name, value in read.items()} == settings
