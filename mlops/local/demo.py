"""Once round the loop: a training, its gate, its rollout, a prediction."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

from mlops.airflow_api import AirflowApi
from mlops.local.stack import LocalStack
from mlops.loop import CLOCK_DIFFERENCE, SERVE, TRAIN, Prediction, Say, find_version, follow, predict, wait_for


def run_demo(stack: LocalStack, say: Say) -> Prediction:
    """Trains a model of iris and rolls it out, unless one serves; then requests a prediction.

    Raises:
        RunError: a run failed, or the model does not answer.
    """
    settings, ports = stack.state.read_settings(), stack.state.read_ports()
    url = f"http://127.0.0.1:{ports['serving']}"
    api = AirflowApi(
        f"http://127.0.0.1:{ports['airflow']}",
        settings["AIRFLOW_ADMIN_USERNAME"],
        settings["AIRFLOW_ADMIN_PASSWORD"],
    )
    with closing(api):
        if find_version(url) is None:
            check = stack.check
            wait_for(
                lambda: {TRAIN, SERVE} <= api.list_dags(), f"the DAGs {TRAIN} and {SERVE} to be known", check=check
            )
            since = datetime.now(UTC) - CLOCK_DIFFERENCE
            before = set(api.list_runs(SERVE, since))
            follow(api, TRAIN, api.trigger(TRAIN, {"dataset": "iris"}), say, check)
            rollout = wait_for(
                lambda: set(api.list_runs(SERVE, since)) - before, f"a run of {SERVE}", check=check
            ).pop()
            follow(api, SERVE, rollout, say, check)
    return predict(url)
