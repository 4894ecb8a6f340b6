"""Shows the environment of its task in every way that a careless author does; copied into a stack by a test."""

from __future__ import annotations

import base64
import logging
import os
import sys
from urllib.parse import quote

import pendulum
from airflow.sdk import dag, task


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), catchup=False, default_args={"retries": 0})
def leak() -> None:
    @task
    def show(environment: dict[str, str]) -> None:
        text = "\n".join(f"{name}={value}" for name, value in environment.items())
        print(text)
        sys.stderr.write(text)
        logging.getLogger("leak").warning("settings: %s", text)
        for value in environment.values():
            print("Basic", base64.b64encode(f"user:{value}".encode()).decode(), quote(value, safe=""))
        try:
            raise ValueError(text)
        except ValueError as error:
            raise RuntimeError(f"found {text}") from error

    # Airflow renders arguments and shows them.
    show(dict(os.environ))


leak()
