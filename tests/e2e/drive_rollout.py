"""Takes the steps of `model_serving_pipeline` in one process: `python - VERSION OWNER [STEP SECONDS]`.

Runs inside the scheduler's container, which reaches the replicas. Without the seconds that Airflow takes between two
tasks a rollout can be repeated often, and be killed anywhere: so many seconds after a step has begun the process is
killed, and it never ends in another way.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from serving.comparison.analysis import Rules
from serving.errors import ServingError
from serving.rollout.control import connect
from serving.rollout.order import roll_out

MODEL = "iris"
# Of 60 requests the slowest is the p99, and two cores that train and serve may hold one up.
RULES = Rules(minimum_requests=60, latency_margin_ms=1000)
WINDOW_SECONDS = 5.0


def begin_or_die(step: str) -> None:
    """Starts the clock of the step in which the process is to be killed."""
    if step in sys.argv[3:4]:
        killer = threading.Timer(float(sys.argv[4]), os.kill, [os.getpid(), signal.SIGKILL])
        killer.daemon = True
        killer.start()


if __name__ == "__main__":
    try:
        control = connect(sys.argv[2])
        print(roll_out(control, MODEL, sys.argv[1], RULES, WINDOW_SECONDS, begin=begin_or_die))
    except ServingError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if sys.argv[3:]:
        signal.pause()
