"""`python -m mlops.worker check` before a worker on another host takes tasks, `publish` beside the scheduler."""

from __future__ import annotations

import os
import sys
import time

import redis

from mlops.worker import checks
from mlops.worker.settings import read_place


def check() -> int:
    """Prints the first failure as one line, and returns the exit code."""
    for finding in checks.examine(read_place()):
        if finding.state == "failure":
            sys.stderr.write(f"FAIL: worker: {finding.subject}: {finding.found}; {finding.advice}\n")
            return 1
        if finding.state == "warning":
            sys.stderr.write(f"WARNING: worker: {finding.subject}: {finding.found}; {finding.advice}\n")
    return 0


def publish() -> int:
    """Tells the broker the release again and again, as long as the scheduler lives, which began this process."""
    scheduler = os.getppid()
    while os.getppid() == scheduler:
        try:
            checks.publish()
        except (OSError, redis.exceptions.RedisError) as error:
            sys.stderr.write(f"WARNING: workers on other hosts: not told the release, {type(error).__name__}\n")
        time.sleep(checks.PAUSE_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit({"check": check, "publish": publish}[sys.argv[1]]())
