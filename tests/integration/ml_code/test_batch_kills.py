"""A batch that is killed at any of its steps and repeated: no row is lost or answered twice, and no byte differs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ml_code.settings import REPOSITORY
from tests.servers import ObjectStore
from tests.unit.ml_code.passengers import PASSENGERS, make_rows, make_typed_rows, train_passengers

ROWS = 900
BUCKET = "s3://predictions/batch_kills"


@pytest.fixture(scope="module")
def model_file() -> bytes:
    return train_passengers()


@pytest.fixture(params=["folder", "store"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, object_store: ObjectStore) -> dict[str, Any]:
    """Where data and predictions lie, as the program takes it."""
    is_folder = request.param == "folder"
    (tmp_path / "passengers.toml").write_text(PASSENGERS)
    make_rows().to_csv(tmp_path / "passengers.csv", index=False)
    return {
        "mlflow_url": "http://127.0.0.1:1",
        "mlflow_username": "trainer",
        "mlflow_password": "secret",
        "s3_endpoint_url": object_store.url,
        "s3_access_key": object_store.access_key,
        "s3_secret_key": object_store.secret_key,
        "catalog_dir": str(tmp_path),
        "datasets_uri": str(tmp_path) if is_folder else "s3://datasets/batch_kills",
        "predictions_uri": str(tmp_path / "predictions") if is_folder else BUCKET,
    }


def kill_everywhere(settings: dict[str, Any], model_file: bytes, scratch: Path, every: int) -> list[dict[str, Any]]:
    rows = make_typed_rows(rows=ROWS)
    rows.to_parquet(scratch / "new.parquet", index=False, row_group_size=ROWS // 3)
    (scratch / "model.onnx").write_bytes(model_file)
    asked = {
        "settings": settings,
        "model": str(scratch / "model.onnx"),
        "source": str(scratch / "new.parquet"),
        "scratch": str(scratch),
        "shard_rows": ROWS // 3,
        "every": every,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.ml_code.batch_kills"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def list_ids(left: dict[str, str]) -> list[int]:
    """The ids of all answers that the manifest names."""
    [manifest] = [json.loads(text) for uri, text in left.items() if uri.endswith("manifest.json")]
    texts = [left[part["uri"]] for part in manifest["parts"]]
    return [int(line["input_id"]) for text in texts for line in csv.DictReader(io.StringIO(text))]


@pytest.mark.parametrize("every", [3, *[pytest.param(1, marks=pytest.mark.long, id=f"all {n}") for n in range(3)]])
def test_a_batch_that_is_killed_at_any_step_and_repeated_leaves_what_an_undisturbed_one_does(
    settings: dict[str, Any], model_file: bytes, tmp_path: Path, every: int
) -> None:
    undisturbed, *repeated = kill_everywhere(settings, model_file, tmp_path, every)
    assert len(repeated) >= 10
    assert {"after find", "before write_bytes", "before upload", "before _make_batch"} <= set(undisturbed["steps"])
    assert sorted(list_ids(undisturbed["left"])) == list(range(ROWS))
    for tried in repeated:
        assert tried["left"] == undisturbed["left"], tried["step"]
