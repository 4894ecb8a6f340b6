"""Kills a batch at each of its steps, repeats it, and compares what it leaves with an undisturbed one.

A program of its own, which forks for each try: a process that has died is the only one that cleans nothing up.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset  # noqa: F401  once, and not in each fork

from ml_code import storage
from ml_code.batch import answers, shards
from ml_code.model_file import onnx_model  # noqa: F401
from ml_code.settings import Settings
from ml_code.tracking import SHA256, VersionRecord
from ml_code.workspace import Workspace, open_workspace

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
BATCH = "killed"
STEPS = ("find", "read_bytes", "write_bytes", "list_objects", "upload")


@dataclass
class Death:
    """Counts the steps of a process, and ends it at one of them."""

    at: int = 0
    steps: list[str] = field(default_factory=list)

    def pass_by(self, step: str) -> None:
        self.steps.append(step)
        if len(self.steps) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def surround(self, owner: Any, name: str) -> None:
        """Makes the start and the end of a function steps."""
        call = getattr(owner, name)

        def passing(*given: Any, **named: Any) -> Any:
            self.pass_by(f"before {name}")
            done = call(*given, **named)
            self.pass_by(f"after {name}")
            return done

        setattr(owner, name, passing)

    def watch(self) -> None:
        for name in STEPS:
            self.surround(storage.Storage, name)
        self.surround(Path, "replace")
        self.surround(answers, "_make_batch")
        make = storage.Storage._make_client

        def make_watched(own: storage.Storage, **options: Any) -> Any:
            client = make(own, **options)
            client.meta.events.register("before-send.s3", lambda **_: self.pass_by("request"))
            return client

        storage.Storage._make_client = make_watched  # type: ignore[method-assign]


class Registry:
    """MLflow with one champion."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_aliases(self, model: str) -> dict[str, str]:
        return {"champion": "7"}

    def read_version(self, model: str, version: str) -> VersionRecord:
        return VersionRecord(model, version, "run", {SHA256: "ab12"})

    def read_model_file(self, model: str, version: str) -> bytes:
        return self.content


def predict(settings: Settings, content: bytes, source: str) -> None:
    """The three tasks of the DAG, one after the other."""
    workspace = Workspace(settings, connect_tracker=lambda _: Registry(content))  # type: ignore[arg-type, return-value]
    planned = shards.plan_batch(workspace, "passengers", BATCH, NOW, source)
    shards.finish_batch(workspace, planned, shards.predict_shards(workspace, planned))


def fork(run: Callable[[], None]) -> int:
    """Runs in a process of its own; returns the signal that ended it, 0 for none."""
    if child := os.fork():
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "it failed"
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 1
    try:
        run()
        code = 0
    finally:
        os._exit(code)


def kill_everywhere(
    settings: Settings, content: bytes, source: str, scratch: Path, every: int
) -> Iterator[dict[str, object]]:
    """The undisturbed batch first; then, for every nth step, what is left of one that was killed there and repeated."""

    def run_until(step: int) -> None:
        death = Death(step)
        death.watch()
        predict(settings, content, source)
        (scratch / "steps.json").write_text(json.dumps(death.steps))

    assert fork(lambda: run_until(0)) == 0
    steps = json.loads((scratch / "steps.json").read_text())
    yield {"steps": steps, "left": take(settings)}
    for number in range(1, len(steps) + 1, every):
        assert fork(lambda at=number: run_until(at)) == signal.SIGKILL  # type: ignore[misc]
        assert fork(lambda: predict(settings, content, source)) == 0
        yield {"step": f"{number} {steps[number - 1]}", "left": take(settings)}


def take(settings: Settings) -> dict[str, str]:
    """The objects of the batch as text, and the copy of the model; they are deleted."""
    opened = open_workspace(settings)
    found = {}
    for entry in opened.storage.list_objects(f"{settings.predictions_uri}/passengers/"):
        found[entry.uri] = opened.storage.read_bytes(entry.uri).decode("latin-1")
        opened.storage.delete(entry.uri)
    return found


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    model_file = Path(asked["model"]).read_bytes()
    shards.SHARD_ROWS = asked["shard_rows"]
    chosen = Settings(**asked["settings"])
    for left in kill_everywhere(chosen, model_file, asked["source"], Path(asked["scratch"]), asked["every"]):
        print(json.dumps(left), flush=True)
