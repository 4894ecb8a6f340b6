"""`mlops` as a person runs it: a process of its own, whose output is read while it runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mlops.local.state import PORTS, StateFolder
from mlops.loop import RUN_SECONDS, wait_for

MLOPS = Path(sys.executable).with_name("mlops")
ROOT = Path(__file__).parents[3]

NOWHERE = "http://127.0.0.1:9"
NO_INTERNET = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE}
"""Every request goes to a missing proxy, unless the command makes this machine an exception."""


class DemoProcess:
    """One run of `mlops demo`."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self._output = state.with_name(f"{state.name}.log")
        with self._output.open("wb") as file:
            self.process = subprocess.Popen(
                [str(MLOPS), "demo", "--state", str(state), *options],
                stdout=file,
                stderr=file,
                env=make_environment() | NO_INTERNET,
                cwd=ROOT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str) -> None:
        """Waits until it says something, and fails where it ends before."""
        wait_for(lambda: text in self.output or self.process.poll() is not None, f"{text!r} to be said", RUN_SECONDS)
        assert text in self.output, self.output

    def end(self, how: int) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout=300)


def make_environment() -> dict[str, str]:
    """This process's, without ports that a person may have set and without the settings of another stack."""
    left_out = {*PORTS.values(), "http_proxy", "https_proxy", "no_proxy", "NO_PROXY"}
    return {name: value for name, value in os.environ.items() if name not in left_out and not name.startswith("MLOPS_")}


def run_mlops(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [str(MLOPS), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**make_environment(), **(environment or {})},
        timeout=RUN_SECONDS,
    )


def find_listeners(state: Path) -> set[int]:
    """Ports of the stack that something listens on."""
    return {port for port in StateFolder(state).read_ports().values() if port and is_taken(port)}


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
