"""Saves stored issues of the weather service by eight processes at a time, which may all be killed at some step."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ml_code.etl import forecasts
from ml_code.settings import Settings
from ml_code.storage import Storage
from ml_code.warehouse import Warehouse
from ml_code.workspace import open_workspace

PROCESSES = 8


def kill_all_at(step: int) -> None:
    """Kills the whole group when its processes have passed so many steps together; 0: never."""
    passed = multiprocessing.Value("i", 0)

    def surround(owner: Any, name: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)

        def passing(*given: Any, **named: Any) -> Any:
            pass_by()
            done = call(*given, **named)
            pass_by()
            return done

        setattr(owner, name, passing)

    def pass_by() -> None:
        with passed.get_lock():
            passed.value += 1
            if passed.value == step:
                os.killpg(0, signal.SIGKILL)

    surround(Warehouse, "transaction")
    surround(Storage, "write_bytes")
    surround(Storage, "read_bytes")
    surround(forecasts, "_save")


def save(settings: Settings, uris: Sequence[str]) -> None:
    for uri in uris:
        forecasts.preprocess_and_save(open_workspace(settings), uri)


def save_side_by_side(settings: Settings, uris: Sequence[str]) -> None:
    children = []
    for number in range(PROCESSES):
        if child := os.fork():
            children.append(child)
            continue
        code = 1
        try:
            save(settings, uris[number::PROCESSES])
            code = 0
        finally:
            os._exit(code)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    kill_all_at(asked["kill_at"])
    save_side_by_side(Settings(**asked["settings"]), asked["uris"])
