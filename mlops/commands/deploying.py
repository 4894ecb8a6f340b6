"""`mlops deploy`: takes a version to the replicas, and shows the steps of its rollout."""

from __future__ import annotations

import getpass
import socket
from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console

from ml_code.errors import MlopsError, SettingsError
from ml_code.settings import Settings
from mlops.airflow_api import AirflowApi, TaskState
from mlops.commands.predicting import refuse_stranger
from mlops.endings import FAILURE, explained, fail
from mlops.errors import LeftError, LocalStackError
from mlops.host import load_host_settings
from mlops.local.interruption import INTERRUPTED

SIGN_IN_SECONDS = 5.0
"""A rollback must not wait for an Airflow that hangs."""

commands = typer.Typer()


@commands.command()
def deploy(
    model: Annotated[str, typer.Argument(help="Registered model; `mlops models` lists them.")],
    version: Annotated[
        str | None, typer.Argument(help="Version of the model, such as 7.", show_default="the newest that passed")
    ] = None,
) -> None:
    """Serve a version that passed the gate, and follow its rollout; the exit code is 1 if it is not served."""
    with explained():
        settings = load_host_settings()
        refuse_stranger(model, settings.catalog_dir)
        deploy_version(settings, model, version)


def deploy_version(settings: Settings, model: str, version: str | None, *, is_chosen: bool = True) -> None:
    """Deploys with progress on stderr, and ends with how to ask the model; Ctrl-C ends the command only.

    Raises:
        LocalStackError: the version is not served.
        ServingError: the model is frozen, or MLflow does not answer.
        MlopsError: the warehouse does not answer.
    """
    from mlops.deployment import Deployment, Place, Progress
    from serving.fleet.access import read_access
    from serving.rollout.control import connect_registry

    console = Console(stderr=True, soft_wrap=True)
    api = connect_airflow(settings)
    control = connect_registry(settings, name_program())
    with closing(api), console.status(f"Deploying {model}") as status:
        progress = Progress(
            lambda line: console.print(line, markup=False, highlight=False),
            lambda step, task: _print_step(console, step, task),
            lambda what: status.update(what.replace("[", r"\[")),
        )
        try:
            place = Place(api, control, settings.gateway_url, read_access(settings))
            served = Deployment(place, model, progress).deploy(version, is_chosen=is_chosen)
        except LeftError as error:
            fail(error, INTERRUPTED)
    found = Console(soft_wrap=True)
    found.print(f"{model} version {served} is served at {settings.gateway_url}/models/{model}/predict", highlight=False)
    found.print(f"Then: mlops predict {model} FILE.csv", highlight=False)


def connect_airflow(settings: Settings) -> AirflowApi:
    """Airflow's API with the login of the settings.

    Raises:
        SettingsError: the settings name no Airflow.
    """
    if settings.airflow_url is None or settings.airflow_password is None:
        raise SettingsError(
            "settings: found no address or no password of Airflow, expected AIRFLOW_ADMIN_PASSWORD in the .env of the "
            "stack (`make up` writes it), or MLOPS_AIRFLOW_URL and MLOPS_AIRFLOW_PASSWORD beside the other MLOPS_* ones"
        )
    return AirflowApi(settings.airflow_url, settings.airflow_username, settings.airflow_password.get_secret_value())


def name_program() -> str:
    """The account of this machine that runs the command: it tells two commands apart, and proves no person."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def name_person(settings: Settings) -> str:
    """The user as whom this command signs in: Airflow's, or MLflow's where Airflow does not accept one.

    Every command that moves an alias or freezes a model signs in at MLflow.
    """
    try:
        with closing(connect_airflow(settings)) as api:
            return api.sign_in(SIGN_IN_SECONDS)
    except (MlopsError, LocalStackError):
        return settings.mlflow_username


def refuse_deployment(why: str) -> None:
    """Ends a command that was asked to deploy and has no version to deploy.

    Raises:
        Exit: always.
    """
    Console(stderr=True, soft_wrap=True).print(f"not deployed: {why}", markup=False, highlight=False)
    raise typer.Exit(FAILURE)


def _print_step(console: Console, step: str, task: TaskState) -> None:
    found = f"{task.state}{f' ({task.label})' if task.label else ''}"
    console.print(f"  {step:<24} {found:<24} {task.seconds:6.1f} s", markup=False, highlight=False)
