"""Requests that schemathesis generates from the published API, and the checks of their responses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CONFIGURATION = """
[checks]
# 413 too, which a body of more than 1 MB gets before anybody looks at its rows.
negative_data_rejection.expected-statuses = [400, 404, 405, 413, 415, 422]
positive_data_acceptance.expected-statuses = [200, 413]

# No schema says that a tensor holds as many values as its shape says.
[[operations]]
include-path-regex = "^/v2/models/.*/infer$"
checks.positive_data_acceptance.expected-statuses = [200, 400, 413]

# No schema says that an id holds the time of an answer, and that a label comes after it.
[[operations]]
include-path-regex = "^/feedback$"
checks.positive_data_acceptance.expected-statuses = [202, 413, 422]
"""


def send_generated(url: str, folder: Path, cases: int, *options: str, seed: int = 1) -> int:
    """Sends generated requests, checks every response, and returns the number of requests.

    `cases` per operation at most; the examples and the coverage of every keyword come on top.
    """
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    command = [str(Path(sys.executable).parent / "st"), "run", f"{url}/openapi.json", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--checks", "all", "--max-examples", str(cases)]
    command += ["--seed", str(seed), "--report-dir", str(folder), "--suppress-health-check", "all", *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    summary = "\n".join(line[:400] for line in result.stdout.splitlines())[-6000:]
    assert result.returncode == 0, summary + result.stderr[-2000:]
    generated = re.search(r"(\d+) generated", result.stdout)
    assert generated, summary
    print(f"{generated[1]} generated requests")
    return int(generated[1])
