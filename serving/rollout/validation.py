"""Validates a version before anything serves it: in a process of its own, which a bad file may crash."""

from __future__ import annotations

import json
import logging
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_code.model_file.spec import ModelSpec
from serving.errors import BreachError, InconclusiveError, RegistryError
from serving.limits import LONGEST_ANSWER_MS
from serving.registry.writer import RegistryWriter

CHILD = ("-m", "serving.rollout.validation_child")
"""Arguments of Python that run the process of `validation_child`."""

WALL_SECONDS = 45.0
"""A replica gives up a file after 60 s; most open within one."""

ONE_ROW_MS = 100.0
THOUSAND_ROWS_MS = 2000.0
"""A request may take ten seconds, and one model has a core at most."""

STARVED_SHARE = 0.1
"""A process that got less of a core than this did not have its time: the machine slept, or does too much."""

MEMORY_MB = 700.0
"""Memory that opening and answering may add: a replica has 1 GB for all of its models."""

logger = logging.getLogger("serving")


class DeathError(BreachError):
    """A file whose process died while it was opened or measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a file: its description, and the time and memory of its answers.

    `largest_ms` is the CPU time of one of the largest requests, and `memory_mb` the memory of those computed at once.
    """

    spec: ModelSpec
    load_seconds: float
    one_row_ms: float
    thousand_rows_ms: float
    largest_ms: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that shall serve, and the one that serves, if any."""

    registry: RegistryWriter
    model: str
    version: str
    champion: str | None
    limit_bytes: int

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.model} version {self.version}"

    def download(self, version: str, file: Path) -> str:
        """Writes the file of a version of the model, and returns its sha256."""
        return self.registry.download(self.model, version, file, self.limit_bytes)


def validate(
    candidate: Candidate,
    *,
    dataset: str,
    allow_schema_change: bool = False,
    renew: Callable[[], None] = lambda: None,
) -> Measured:
    """Checks digest, schema, golden answers, latency and memory of a version.

    Args:
        candidate: the version.
        dataset: that the file must be made for.
        allow_schema_change: whether clients may have to change what they send.
        renew: called every second.

    Raises:
        BreachError: the version must not serve.
        RegistryError: MLflow or its store is away.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        _fetch(candidate, file)
        measured = measure(file, candidate.name, renew=renew)
        if measured.spec.dataset != dataset:
            raise BreachError(
                f"{candidate.name}: found the model file of the dataset {measured.spec.dataset}, expected one of "
                f"{dataset}"
            )
        _check_cost(measured, candidate.name)
        change = _compare_schemas(candidate, measured.spec, Path(folder) / "champion.onnx", renew)
    if change and not allow_schema_change:
        raise BreachError(
            f"{candidate.name}: schema: {change}; clients of version {candidate.champion} would get errors: set "
            "allow_schema_change if they are ready"
        )
    return measured


def measure(
    file: Path, subject: str, *, wall_seconds: float | None = None, renew: Callable[[], None] = lambda: None
) -> Measured:
    """Opens a file in a process of its own, replays its golden rows and measures it.

    A process that dies is started once more: the machine may have ended it. The second death is the file's.

    Raises:
        BreachError: the file does not open, answers wrongly, ends its process twice or takes too long.
        InconclusiveError: the machine gave the process no time.
    """
    try:
        return _measure_once(file, subject, wall_seconds or WALL_SECONDS, renew)
    except DeathError as death:
        logger.warning("%s; it is opened once more", death)
    return _measure_once(file, subject, wall_seconds or WALL_SECONDS, renew)


def _measure_once(file: Path, subject: str, wall_seconds: float, renew: Callable[[], None]) -> Measured:
    before = _read_children_seconds()
    command = [sys.executable, *CHILD, str(file), str(int(wall_seconds))]
    deadline = time.monotonic() + wall_seconds
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:  # noqa: S603  this package
        try:
            while True:
                try:
                    output, errors = child.communicate(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        child.kill()
                        child.wait()
                        used_seconds = _read_children_seconds() - before
                        raise _explain_slow(subject, wall_seconds, used_seconds) from None
                    renew()
        finally:
            child.kill()
    if child.returncode == -signal.SIGXCPU:
        raise _explain_slow(subject, wall_seconds, wall_seconds)
    if child.returncode != 0:
        raise DeathError(
            f"{subject}: found a file that {_describe_end(child.returncode, errors)}, expected one that opens"
        )
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    if "problem" in found:
        raise BreachError(f"{subject}: {found['problem']}")
    return Measured(ModelSpec.model_validate(found.pop("spec")), **found)


def _read_children_seconds() -> float:
    """The processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _explain_slow(subject: str, seconds: float, used_seconds: float) -> BreachError:
    if used_seconds < STARVED_SHARE * seconds:
        return InconclusiveError(
            f"{subject}: found {used_seconds:.1f} s of processor time for its file in {seconds:.0f} s, expected more; "
            "the machine slept or is overloaded: roll it out again"
        )
    return BreachError(
        f"{subject}: found a file that was not validated after {seconds:.0f} s, expected one that opens and answers "
        "its golden rows in a few"
    )


def find_schema_change(before: ModelSpec, after: ModelSpec) -> str | None:
    """What clients would have to change; None where nothing. Further classes are not a change.

    Order counts as well: clients send arrays.
    """
    was = [f"{feature.name} ({feature.kind})" for feature in before.features]
    now = [f"{feature.name} ({feature.kind})" for feature in after.features]
    if was != now:
        return f"found the features {', '.join(now)}, expected {', '.join(was)}"
    if before.task != after.task:
        return f"found {after.task}, expected {before.task}"
    lacking = set(map(str, before.classes or [])) - set(map(str, after.classes or []))
    if lacking and after.classes is not None:
        return f"found no class {', '.join(sorted(lacking))}, expected every class of the champion"
    if before.probabilities_output and not after.probabilities_output:
        return "found no probabilities, expected them"
    return None


def _fetch(candidate: Candidate, file: Path) -> None:
    tags = candidate.registry.read_tags(candidate.model, candidate.version)
    if tags is None:
        raise BreachError(f"{candidate.name}: found no such version, expected one that is registered")
    try:
        digest = candidate.download(candidate.version, file)
    except RegistryError as error:
        # Is it this file, or the store?
        if error.status not in {404, 413} and not _can_fetch_champion(candidate, file):
            raise
        digest = _fetch_again(candidate, file)
    expected = tags.get("sha256", "none").lower()
    if digest != expected:
        raise BreachError(
            f"{candidate.name}: found a model file with sha256 {digest}, expected {expected} by its tag; the file was "
            "truncated or altered: register the model again"
        )


def _fetch_again(candidate: Candidate, file: Path) -> str:
    """Fetches the file a second time: one that was away for a moment is not missing."""
    try:
        return candidate.download(candidate.version, file)
    except RegistryError as error:
        raise BreachError(f"{candidate.name}: its file is missing: {error}") from error


def _can_fetch_champion(candidate: Candidate, file: Path) -> bool:
    if candidate.champion is None:
        return False
    try:
        candidate.download(candidate.champion, file)
    except RegistryError:
        return False
    return True


def _check_cost(measured: Measured, subject: str) -> None:
    limits = {
        "one row": (measured.one_row_ms, ONE_ROW_MS, "ms"),
        "1,000 rows": (measured.thousand_rows_ms, THOUSAND_ROWS_MS, "ms"),
        "the largest request": (measured.largest_ms, LONGEST_ANSWER_MS, "ms"),
        "memory": (measured.memory_mb, MEMORY_MB, "MB"),
    }
    for name, (found, limit, unit) in limits.items():
        if found > limit:
            raise BreachError(
                f"{subject}: {name}: found {found:.1f} {unit}, expected at most {limit:.0f}; train a smaller model"
            )


def _compare_schemas(candidate: Candidate, spec: ModelSpec, file: Path, renew: Callable[[], None]) -> str | None:
    champion = candidate.champion
    if champion is None or champion == candidate.version:
        return None
    try:
        candidate.download(champion, file)
        before = measure(file, f"{candidate.model} version {champion}", renew=renew).spec
    except (RegistryError, BreachError) as error:
        logger.warning("%s: the schema of the champion cannot be compared: %s", candidate.model, error)
        return None
    return find_schema_change(before, spec)


def _describe_end(returncode: int, errors: str) -> str:
    last = (errors.strip().splitlines() or [""])[-1][:300]
    if returncode < 0:
        return f"ends its process by {signal.Signals(-returncode).name}{f' ({last})' if last else ''}"
    return f"ends its process with {returncode}{f' ({last})' if last else ''}"
