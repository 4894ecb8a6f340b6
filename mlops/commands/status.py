"""`mlops status`: the parts of the stack, those of Airflow too, and the runs of the loop that need a look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import typer
from rich.console import Console

from ml_code.errors import MlopsError
from ml_code.settings import Settings
from ml_code.workspace import open_workspace
from mlops.airflow_api import AirflowApi, RunState
from mlops.commands.deploying import connect_airflow
from mlops.commands.output import AsJson, print_json, print_table
from mlops.endings import FAILURE, explained
from mlops.errors import LocalStackError
from mlops.host import load_host_settings
from serving.errors import ServingError

ANSWERS = "answers"
NOT_CHECKED = "not checked"
"""Begins the state of a part that the settings do not name; it is not a failure."""

LOOP = (
    "minio_asset_example",
    "minio_reconcile",
    "mlops_training_pipeline",
    "model_retraining",
    "model_serving_pipeline",
    "model_rollback",
    "ab_test",
    "collect_predictions",
    "monitor_model",
    "housekeeping",
)
"""DAGs of the closed loop."""

RECENT = timedelta(days=1)
SHOWN_RUNS = 10

commands = typer.Typer()


@commands.command()
def status(*, as_json: AsJson = False) -> None:
    """List the parts of the stack and whether they answer; the exit code is 1 if one does not.

    The runs of the loop that are under way, or failed within a day, follow, and the last retraining of each model; they
    do not change the exit code.
    """
    with explained():
        settings = load_host_settings()
    rows = [
        _check("MLflow", settings.mlflow_url, lambda: _ask_mlflow(settings)),
        _check_warehouse(settings),
        _check("object store", settings.s3_endpoint_url, lambda: _ask_store(settings)),
        _check("gateway", settings.gateway_url, lambda: _ask_gateway(settings)),
        *_check_airflow(settings),
    ]
    if as_json:
        print_json(rows)
    else:
        print_table([_describe_part(row) for row in rows], flexible=["address", "state"])
        _print_runs([run for row in rows for run in row.get("runs", [])])
        _print_retrainings([found for row in rows for found in row.get("retrainings", [])])
    if any(row["state"] != ANSWERS and not row["state"].startswith(NOT_CHECKED) for row in rows):
        raise typer.Exit(FAILURE)


def select_runs(runs: Sequence[RunState]) -> list[dict[str, str]]:
    """The runs of the loop's DAGs, those that failed first."""
    chosen = [asdict(run) for run in runs if run.dag_id in LOOP]
    return sorted(chosen, key=lambda run: run["state"] != "failed")


def _check_airflow(settings: Settings) -> list[dict[str, Any]]:
    """Airflow's API, and its processes as they report themselves to it."""
    try:
        api = connect_airflow(settings)
    except MlopsError as error:
        return [{"part": "Airflow", "address": "-", "state": f"{NOT_CHECKED}: {error}"}]
    with closing(api):
        health: dict[str, str] = {}
        runs: list[dict[str, str]] = []

        def ask() -> None:
            health.update(api.read_health())
            runs.extend(select_runs(api.list_notable_runs(datetime.now(UTC) - RECENT)))

        row = _check("Airflow", api.url, ask)
    return [{**row, "runs": runs}, *(_describe_process(api, part, state) for part, state in health.items())]


def _describe_process(api: AirflowApi, part: str, health: str) -> dict[str, str]:
    name = part.replace("_", "-")
    state = ANSWERS if health == "healthy" else f"{health}: `docker compose logs airflow-{name}` says why"
    return {"part": name, "address": api.url, "state": state}


def _describe_part(row: dict[str, Any]) -> dict[str, str | None]:
    return {name: row[name] for name in ("part", "address", "state")}


def _print_runs(runs: Sequence[dict[str, str]]) -> None:
    if not runs:
        return
    console = Console()
    console.print("\nRuns of the loop under way, or failed within a day:")
    shown = [{"DAG": run["dag_id"], "state": run["state"], "since": _shorten(run["since"])} for run in runs]
    print_table(shown[:SHOWN_RUNS], flexible=["DAG"])
    if len(runs) > SHOWN_RUNS:
        console.print(f"and {len(runs) - SHOWN_RUNS} more", highlight=False)


def _print_retrainings(retrainings: Sequence[dict[str, str]]) -> None:
    if not retrainings:
        return
    console = Console()
    console.print("\nThe last retraining of each model:")
    for found in retrainings:
        console.print(f"- {found['model']}: {found['says']}", markup=False, highlight=False)


def _shorten(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"


def _check_warehouse(settings: Settings) -> dict[str, Any]:
    """The warehouse, and the last retraining of each model as it tells it."""
    retrainings: list[dict[str, str]] = []
    row = _check("warehouse", "postgres", lambda: retrainings.extend(_read_retrainings(settings)))
    return {**row, "retrainings": retrainings}


def _check(part: str, address: str, ask: Callable[[], object]) -> dict[str, str]:
    try:
        ask()
    except (MlopsError, ServingError, LocalStackError, httpx.HTTPError) as error:
        return {"part": part, "address": address, "state": (str(error).splitlines() or [type(error).__name__])[0]}
    return {"part": part, "address": address, "state": ANSWERS}


def _ask_mlflow(settings: Settings) -> None:
    from serving.registry.writer import MlflowRegistryWriter

    password = settings.mlflow_password.get_secret_value()
    registry = MlflowRegistryWriter(settings.mlflow_url, settings.mlflow_username, password)
    with closing(registry):
        registry.read("iris")


def _ask_store(settings: Settings) -> None:
    open_workspace(settings).storage.find(settings.datasets_uri)


def _read_retrainings(settings: Settings) -> list[dict[str, str]]:
    from ml_code.monitoring.retraining.attempts import list_last
    from ml_code.verdicts import read_verdicts

    warehouse = open_workspace(settings).warehouse
    found = []
    for last in list_last(warehouse):
        rollout = read_verdicts(warehouse, last.model).get(last.version) if last.version else None
        found.append({"model": last.model, "outcome": last.outcome or "under way", "says": last.describe(rollout)})
    return found


def _ask_gateway(settings: Settings) -> None:
    from serving.fleet.access import read_access

    httpx.get(f"{settings.gateway_url}/healthz", timeout=5, verify=read_access(settings).verify).raise_for_status()
