"""One row means the same to /predict, to a batch and to the fitted pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_code.batch.answers import Marks, write_answers
from ml_code.batch.inputs import Rows
from ml_code.data.features import list_classes, select_inputs
from ml_code.data.validation import check_rows
from ml_code.families import FAMILIES, find_family
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import fit_pipeline
from serving.answering.rows import RowParser
from tests.unit.ml_code.passengers import make_dataset, make_rows


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", ["linear", "lightgbm"])
def test_the_same_rows_have_the_same_answers_online_in_batch_and_in_the_pipeline(
    tmp_path: Path, task: str, name: str
) -> None:
    dataset = make_dataset(task)
    rows = check_rows(dataset, make_rows(task)).good
    pipeline = fit_pipeline(dataset, rows, find_family(*FAMILIES[name], dataset.task), {})
    classes = list_classes(dataset, rows)
    model = OnnxModel(export_pipeline(dataset, pipeline, classes, rows).content)

    body = json.loads(rows[dataset.features].to_json(orient="records"))
    online = model.predict_rows(RowParser(model.spec).parse(json.dumps(body).encode()).rows)

    batch = pa.RecordBatch.from_pandas(rows[dataset.features], preserve_index=False)
    write_answers(
        model,
        [Rows(0, batch, pa.array(range(len(rows))))],
        Marks("passengers", "1", "now", "rows"),
        tmp_path / "answers.parquet",
    )
    in_batch = pq.read_table(tmp_path / "answers.parquet").to_pandas()

    fitted = pipeline.predict(select_inputs(dataset, rows))
    expected = fitted if classes is None else [classes[number] for number in fitted]
    pd.testing.assert_series_equal(
        in_batch["prediction"], pd.Series(online.values), check_names=False, check_dtype=False, rtol=0, atol=0
    )
    if classes is None:
        np.testing.assert_allclose(online.values, expected, rtol=1e-3, atol=1e-3)
    else:
        assert online.values == expected
        found = in_batch[[f"probability_{label}" for label in classes]].to_numpy()
        np.testing.assert_array_equal(found, online.probabilities)
