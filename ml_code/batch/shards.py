"""Predictions of whole files: planned once, predicted shard by shard; each shard can be repeated.

A batch is a folder `<predictions>/<model>/<batch id>/`. Its `plan.json` pins the inputs, the time and the model's
version. Each `part-00000.parquet` (or `.csv`) is one shard, and `manifest.json` comes last. The plan determines the
bytes of a shard, so a repeated shard writes the same bytes. Beside the batches, `files/` holds a copy of each used
model file by its sha256, so shards run without MLflow.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from ml_code.addresses import NamedFiles
from ml_code.batch.inputs import count_rows_of_groups, list_inputs, read_batches
from ml_code.errors import CatalogError, DataCheckError, NoChampionError
from ml_code.heap import return_free_memory
from ml_code.reading.rules import Reading
from ml_code.storage import StoredObject
from ml_code.workspace import Workspace

if TYPE_CHECKING:
    from ml_code.model_file.onnx_model import OnnxModel

SHARD_ROWS = 1_000_000
"""Rows of a shard of a Parquet file, up to the end of a row group; a CSV file is one shard."""

MOST_TASKS = 1_000
"""Tasks of one batch: Airflow maps a task 1,024 times at most. A larger batch has tasks of several shards each."""

SMALL_BYTES = 1_000_000
"""Largest input whose answers are CSV, for a person; answers to larger inputs are Parquet."""

SAMPLE_ROWS = 5

type Format = Literal["csv", "parquet"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """The work of one task: some row groups or rows of a file, or the whole file."""

    folder: str
    number: int
    model: str
    version: str
    model_uri: str
    predicted_at: str
    format: Format
    input_uri: str
    key: str | None
    row_groups: Sequence[int] | None = None
    rows: Sequence[int] | None = None

    @property
    def output_uri(self) -> str:
        """Address of its answers."""
        return f"{self.folder}/part-{self.number:05d}.{self.format}"


@dataclass(frozen=True, slots=True)
class Part:
    """The output of one shard."""

    uri: str
    rows: int
    sha256: str


def plan_batch(
    workspace: Workspace,
    model: str,
    batch_id: str,
    predicted_at: datetime,
    input_uri: str = "",
    *,
    sample_rows: int = SAMPLE_ROWS,
) -> list[Shard]:
    """Pins the champion and cuts the input into shards; a repeated call returns the same plan.

    Args:
        workspace: with MLflow, the store and the catalog.
        model: registered model; its champion predicts.
        batch_id: names the batch, and seeds the sample if no input is given.
        predicted_at: time, written beside every answer.
        input_uri: CSV or Parquet file, or a common prefix of several: a key of the datasets' bucket,
            `s3://bucket/key` or a path. Empty: a random sample of the newest version of the model's dataset.
        sample_rows: size of the sample.

    Raises:
        NoChampionError: the model has no champion.
        CatalogError: no dataset has this model.
        SourceError: there is no such file, or no version of the dataset.
        StorageError: a person may not name the address, or the store refuses.
        TrackingError: MLflow refuses.
    """
    storage, catalog = workspace.storage, workspace.catalog
    datasets = catalog.list_models()
    if model not in datasets:
        raise CatalogError(f"model: found {model!r}, expected one of {', '.join(datasets)}; choose one of these")
    dataset = catalog.datasets[datasets[model]]
    folder = workspace.places.locate_batch(model, batch_id)
    if storage.find(f"{folder}/plan.json"):
        return [Shard(**shard) for shard in json.loads(storage.read_bytes(f"{folder}/plan.json"))]
    version, model_uri = _copy_champion(workspace, model)
    inputs = list_inputs(workspace, dataset, input_uri)
    whole = Shard(
        folder=folder,
        number=0,
        model=model,
        version=version,
        model_uri=model_uri,
        predicted_at=predicted_at.isoformat(),
        format="csv",
        input_uri=inputs[0].uri,
        key=dataset.key,
    )
    if input_uri:
        shards = _cut(workspace.named_files, whole, inputs)
    else:
        rows = _draw_rows(batch_id, sample_rows, count_rows_of_groups(workspace.named_files, whole.input_uri))
        shards = [replace(whole, rows=rows)]
    storage.write_bytes(f"{folder}/plan.json", json.dumps([asdict(shard) for shard in shards]).encode())
    log.info("%s version %s predicts %d shards of %d files into %s", model, version, len(shards), len(inputs), folder)
    return shards


def predict_shards(workspace: Workspace, shards: Sequence[Shard]) -> list[Part]:
    """Predicts the shards of a task in turn, and writes all answers of a shard at once; the model is opened once.

    Raises:
        DataCheckError: a column is missing, or a cell is not what the model reads.
        StorageError: the store refuses, or the input is gone.
    """
    from ml_code.model_file.onnx_model import OnnxModel  # noqa: PLC0415  needed by a shard, not by a plan

    # All shards of a plan have the same model file.
    model = OnnxModel(workspace.storage.read_bytes(shards[0].model_uri), workspace.settings.batch_threads)
    return_free_memory()
    return [_predict_shard(workspace, shard, model) for shard in shards]


def _predict_shard(workspace: Workspace, shard: Shard, model: OnnxModel) -> Part:
    from ml_code.batch.answers import Marks, write_answers  # noqa: PLC0415

    with workspace.storage.create(shard.output_uri) as path:
        batches = read_batches(
            workspace.named_files,
            shard.input_uri,
            model.spec.features,
            shard.key,
            reading=_find_reading(workspace, shard.model),
            row_groups=shard.row_groups,
            rows=shard.rows,
        )
        marks = Marks(shard.model, shard.version, shard.predicted_at, shard.input_uri)
        rows = write_answers(model, batches, marks, path, workspace.settings.batch_threads)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(shard.output_uri, rows, digest)


def _find_reading(workspace: Workspace, model: str) -> Reading:
    catalog = workspace.catalog
    return catalog.datasets[catalog.list_models()[model]].reading


def share_out(shards: Sequence[Shard], most_tasks: int = MOST_TASKS) -> list[list[Shard]]:
    """Shares consecutive shards out among tasks as evenly as possible; up to `most_tasks` shards have one task each.

    The parts of a batch are the same for any number of tasks.

    >>> [len(task) for task in share_out(shards, most_tasks=3)]  # of seven shards
    [3, 2, 2]
    """
    tasks = min(len(shards), most_tasks)
    least, larger = divmod(len(shards), tasks) if tasks else (0, 0)
    starts = [number * least + min(number, larger) for number in range(tasks + 1)]
    return [list(shards[start:end]) for start, end in pairwise(starts)]


def finish_batch(workspace: Workspace, shards: Sequence[Shard], parts: Sequence[Part]) -> str:
    """Writes the manifest, which marks the batch as complete, and returns its URI.

    Raises:
        DataCheckError: a part is missing or appears twice.
        StorageError: the store refuses.
    """
    expected, found = sorted(shard.output_uri for shard in shards), sorted(part.uri for part in parts)
    if expected != found:
        raise DataCheckError(
            f"batch: found the parts {found}, expected {expected}; clear the shards and run them again"
        )
    first = shards[0]
    manifest = {
        "model": first.model,
        "version": first.version,
        "predicted_at": first.predicted_at,
        "inputs": sorted({shard.input_uri for shard in shards}),
        "rows": sum(part.rows for part in parts),
        "parts": [asdict(part) for part in sorted(parts, key=lambda part: part.uri)],
    }
    uri = f"{first.folder}/manifest.json"
    workspace.storage.write_bytes(uri, json.dumps(manifest, indent=2).encode())
    log.info("%s: %d rows in %d parts", uri, manifest["rows"], len(parts))
    return uri


def _copy_champion(workspace: Workspace, model: str) -> tuple[str, str]:
    """Copies the champion's file to the predictions, unless it is there; returns its version and the copy's URI."""
    from ml_code.tracking import SHA256  # noqa: PLC0415  seconds to import, and shards do not need it

    tracker, storage = workspace.tracker, workspace.storage
    version = tracker.read_aliases(model).get("champion")
    if version is None:
        raise NoChampionError(
            f"{model}: found no champion, expected one; train one, such as by the DAG mlops_training_pipeline"
        )
    uri = workspace.places.locate_batch_model(model, tracker.read_version(model, version).tags.get(SHA256))
    if storage.find(uri) is None:
        storage.write_bytes(uri, tracker.read_model_file(model, version))
    return version, uri


def _cut(files: NamedFiles, whole: Shard, inputs: Sequence[StoredObject]) -> list[Shard]:
    """One shard for each CSV file, and for each `SHARD_ROWS` rows of a Parquet file."""
    is_small = sum(file.size_bytes for file in inputs) <= SMALL_BYTES
    places: list[tuple[str, Sequence[int] | None]] = []
    for file in inputs:
        is_parquet = file.uri.endswith(".parquet")
        groups = _group(count_rows_of_groups(files, file.uri)) if is_parquet else []
        places += [(file.uri, group) for group in groups] or [(file.uri, None)]
    return [
        replace(whole, number=number, format="csv" if is_small else "parquet", input_uri=uri, row_groups=group)
        for number, (uri, group) in enumerate(places)
    ]


def _group(rows_of_groups: Sequence[int]) -> list[list[int]]:
    """Groups consecutive row groups into shards of about `SHARD_ROWS` rows."""
    shards: list[list[int]] = []
    rows = SHARD_ROWS
    for number, count in enumerate(rows_of_groups):
        if rows >= SHARD_ROWS:
            shards.append([])
            rows = 0
        shards[-1].append(number)
        rows += count
    return shards


def _draw_rows(batch_id: str, sample_rows: int, rows_of_groups: Sequence[int]) -> list[int]:
    """Draws sorted row numbers, the same ones for the same batch."""
    import numpy as np  # noqa: PLC0415

    seed = int.from_bytes(hashlib.sha256(batch_id.encode()).digest()[:8])
    total = sum(rows_of_groups)
    return sorted(np.random.default_rng(seed).choice(total, min(sample_rows, total), replace=False).tolist())
