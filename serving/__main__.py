"""Starts a replica: `python -m serving`.

It is `bentoml serve` without the supervisor: one process instead of two, 85 MB less. A container's restart policy
does what the supervisor would.
"""

from __future__ import annotations

import socket

from _bentoml_impl.worker.service import main as run_worker  # type: ignore[import-untyped]

from serving.api.bentoml_seam import format_log
from serving.settings import ServingSettings

KEEP_ALIVE_SECONDS = 75
"""Longer than the gateway keeps an idle connection (4 s), so that the gateway never sends on one that is closing."""

BACKLOG = 2048


def main() -> None:
    """Binds its port and runs BentoML's worker until a signal stops it."""
    settings = ServingSettings()
    format_log(settings.log_format)
    listener = bind(settings.host, settings.port)
    arguments = ["serving.service:PredictionService", "--fd", str(listener.detach()), "--worker-id", "1"]
    arguments += ["--service-name", "predictions", "--backlog", str(BACKLOG)]
    arguments += ["--timeout-keep-alive", str(KEEP_ALIVE_SECONDS), "--timeout-graceful-shutdown", "15"]
    run_worker(arguments)


def bind(host: str, port: int) -> socket.socket:
    """A socket that has its port but refuses connections: uvicorn listens once the last versions are restored.

    A replica that accepted connections during its start would delay the gateway's requests; a refusal costs nothing.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


if __name__ == "__main__":
    main()
