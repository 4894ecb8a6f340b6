"""`mlops replay-request`: answers one logged request again with any version, and shows both answers."""

from __future__ import annotations

import csv
import sys
from typing import Annotated

import typer

from ml_code.errors import NoChampionError, SourceError
from ml_code.workspace import open_workspace
from mlops.endings import explained
from mlops.host import load_host_settings

commands = typer.Typer()

HEADER = (
    "row",
    "variant",
    "version",
    "prediction",
    "score",
    "replayed_version",
    "replayed",
    "replayed_score",
    "trace_id",
)


@commands.command()
def replay_request(
    request_id: Annotated[str, typer.Argument(help="The header X-Request-Id of an answer.")],
    version: Annotated[
        str | None, typer.Option(help="Version that answers again.", show_default="the champion")
    ] = None,
) -> None:
    """Answer a logged request again with any version; prints both answers as CSV."""
    with explained(SourceError, NoChampionError):
        from ml_code.monitoring.prediction_log import replaying

        replay = replaying.replay_request(open_workspace(load_host_settings()), request_id, version)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(HEADER)
    for row in replay.rows:
        logged = (row.row, row.variant, row.version, row.prediction, _round(row.score))
        writer.writerow([*logged, replay.version, row.again, _round(row.again_score), replay.trace_id])
    if replay.missing:
        typer.echo(
            f"The log holds no value of {', '.join(replay.missing)}: version {replay.version} answered without it.",
            err=True,
        )


def _round(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"
