"""Runs the exporter until it is told to stop: `python -m mlops.exporter`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial

import httpx
import prometheus_client
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from ml_code.log_lines import LogFormat, make_formatter
from ml_code.warehouse import Warehouse
from mlops.airflow_api import AirflowApi
from mlops.exporter.airflow import AirflowSource
from mlops.exporter.gateway import PROBE_SECONDS, Probe, read_nginx
from mlops.exporter.machine import MachineSource
from mlops.exporter.settings import ExporterSettings
from mlops.exporter.sources import Source, Sources
from mlops.exporter.warehouse import WarehouseSource

EVERY_PROBE = 10.0
EVERY_AIRFLOW = 15.0
EVERY_WAREHOUSE = 30.0
"""Seconds between two readings: of what a client sees, of runs, and of what a window or a rollout changes."""

log = logging.getLogger("mlops.exporter")


def list_sources(settings: ExporterSettings, registry: CollectorRegistry) -> Iterator[Source]:
    """The sources that the settings name."""
    yield Source("machine", EVERY_WAREHOUSE, MachineSource(settings).read)
    client = httpx.Client(timeout=PROBE_SECONDS)
    if settings.gateway_url:
        token = settings.gateway_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        gateway = httpx.Client(base_url=settings.gateway_url, headers=headers, timeout=PROBE_SECONDS)
        yield Source("gateway", EVERY_PROBE, Probe(gateway, settings.default_model, registry).read)
    if settings.nginx_url:
        yield Source("nginx", EVERY_PROBE, partial(read_nginx, client, settings.nginx_url))
    if settings.airflow_url and settings.airflow_password:
        api = AirflowApi(settings.airflow_url, settings.airflow_username, settings.airflow_password.get_secret_value())
        yield Source("airflow", EVERY_AIRFLOW, AirflowSource(api).read)
    if settings.warehouse_dsn:
        warehouse = Warehouse(settings.warehouse_dsn.get_secret_value())
        yield Source("warehouse", EVERY_WAREHOUSE, WarehouseSource(warehouse).read)


def start_log(lines: LogFormat) -> None:
    """Logs to the standard output: warnings of the libraries, and what the exporter itself tells."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(make_formatter(lines, "%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    log.setLevel(logging.INFO)


def main() -> None:
    """Serves `/metrics` until SIGTERM or SIGINT."""
    try:
        settings = ExporterSettings()
    except ValidationError as error:
        sys.exit(f"FAIL: exporter: {error}")
    start_log(settings.log_format)
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    sources = Sources(list(list_sources(settings, registry)))
    registry.register(sources)
    server, _ = prometheus_client.start_http_server(settings.port, settings.host, registry)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sources.start()
    log.info("exporter: listens on port %d", server.server_port)
    stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
