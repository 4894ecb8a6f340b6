"""Asks a real replica about rows of each table over HTTP, and compares its answers with the model file's own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from itertools import batched
from pathlib import Path
from typing import Any

import httpx

from serving.answering.served import Version
from serving.following.model_files import ModelFiles
from tests.benchmarks.tables.loop import Trained
from tests.integration.serving.replica import Replica, run_replica, wait_until

MODELS_OF_A_REPLICA = 16
"""So that the models of a replica need little memory together."""


def ask_replicas(folder: Path, trained: Mapping[str, Trained]) -> dict[str, str]:
    """What is wrong with the answers about each model; an empty text where nothing is."""
    problems: dict[str, str] = {}
    for number, names in enumerate(batched(trained, MODELS_OF_A_REPLICA)):
        place = folder / f"replica-{number}"
        _store(place, {name: trained[name].content for name in names})
        with run_replica(place, "http://127.0.0.1:1", "secret", SERVING_CATALOG_DIR=str(place / "catalog")) as replica:
            wait_until(lambda: set(replica.versions()) == set(names), replica.versions)  # noqa: B023  called at once
            problems |= {name: _ask(replica, name, trained[name]) for name in names}
    return problems


def _store(place: Path, contents: Mapping[str, bytes]) -> None:
    """Puts model files where a replica finds them as served last."""
    (place / "catalog").mkdir(parents=True)
    files = ModelFiles(place / "state", "benchmark")
    for name, content in contents.items():
        (place / "catalog" / f"{name}.toml").touch()
        digest = hashlib.sha256(content).hexdigest()
        temporary = files.temporary_path()
        temporary.write_bytes(content)
        files.keep(temporary, digest)
        files.record(Version(name, "1", digest), "2026-01-01T00:00:00+00:00")


def _ask(replica: Replica, name: str, trained: Trained) -> str:
    response = httpx.post(f"{replica.url}/models/{name}/predict", json=trained.asked, timeout=60)
    if response.status_code != 200:
        return f"{response.status_code}: {response.text[:300]}"
    answers = response.json()["predictions"]
    if len(answers) == len(trained.expected) and all(map(_is_equal, answers, trained.expected)):
        return ""
    return f"it answers {answers}, its file {trained.expected}"


def _is_equal(answer: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(answer, int | float):
        return math.isclose(answer, expected, rel_tol=1e-5, abs_tol=1e-6)
    return bool(answer == expected)
