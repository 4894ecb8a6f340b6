"""Takes the steps of `model_serving_pipeline` in one process: `python - VERSION OWNER [STEP SECONDS]`.

Runs inside the scheduler's container, which reaches the replicas. Without the seconds that Airflow takes between two
tasks a rollout can be repeated often, and be cut off anywhere: so many seconds after a step has begun the process is
gone, as by `kill -9`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from serving.comparison.analysis import Rules
from serving.errors import NoCanaryError, ServingError
from serving.rollout import steps
from serving.rollout.control import connect
from serving.rollout.plan import open_rollout

MODEL = "iris"
RULES = Rules(minimum_requests=60)
WINDOW_SECONDS = 5.0


def drive(version: str, owner: str, begin: Callable[[str], None]) -> str:
    control = connect(owner)
    begin("plan")
    opened = open_rollout(control, MODEL, version).rollout_id
    begin("validate_artifact")
    steps.validate_artifact(control, opened)
    try:
        begin("start_canary")
        steps.start_canary(control, opened)
        begin("wait_for_canary")
        steps.wait_for_canary(control, opened)
        begin("analyse_canary")
        steps.analyse_canary(control, opened, RULES, WINDOW_SECONDS)
    except NoCanaryError as reason:
        print(reason)
    begin("promote")
    steps.promote(control, opened)
    begin("wait_for_fleet")
    steps.wait_for_fleet(control, opened)
    begin("verify_through_gateway")
    return steps.verify_through_gateway(control, opened)


def begin_or_end(step: str) -> None:
    """Starts the clock of the step that is to be cut off."""
    if step in sys.argv[3:4]:
        killer = threading.Timer(float(sys.argv[4]), os._exit, [9])
        killer.daemon = True
        killer.start()


if __name__ == "__main__":
    try:
        print(drive(sys.argv[1], sys.argv[2], begin_or_end))
    except ServingError as error:
        sys.exit(f"{type(error).__name__}: {error}")
