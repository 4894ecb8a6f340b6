"""One version's own file asked the rows again, and the gate's metric of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError, DigestError, GateError, ModelFileError, TrackingError
from ml_code.gate.evaluation import predict_rows
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import ModelSpec
from ml_code.monitoring.quality.answered import Answered
from ml_code.monitoring.quality.figures import measure_answers
from ml_code.monitoring.quality.holdout import Reference, find_rarer
from ml_code.monitoring.quality.intervals import Estimate
from ml_code.monitoring.staleness.rows import LabelledRows, list_misfits
from ml_code.monitoring.staleness.served import Served
from ml_code.training.reference import list_answers, list_scores
from ml_code.workspace import Workspace

LONGEST_PROBLEM = 300
SHOWN_COLUMNS = 5
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Question:
    """What each version of a model is asked: the newest labelled answers up to the end of a window."""

    model: str
    dataset: Dataset
    rows: LabelledRows
    end: datetime


@dataclass(frozen=True, slots=True)
class Scored:
    """A version's metric on the rows, or the problem for which it has none."""

    version: str
    age_days: float | None
    score: Estimate | None
    problem: str | None


def score_version(workspace: Workspace, question: Question, served: Served) -> Scored:
    """Scores a version; one whose file is gone or cannot answer these rows is named, and stops no other one."""
    age = None
    if served.created_at is not None:
        age = max(0.0, (question.end - served.created_at).total_seconds() / DAY_SECONDS)
    try:
        opened = OnnxModel(workspace.tracker.read_model_file(question.model, served.version))
        return Scored(served.version, age, measure_file(question.dataset, opened, question.rows), None)
    except (DataCheckError, DigestError, GateError, ModelFileError, TrackingError) as error:
        return Scored(served.version, age, None, str(error)[:LONGEST_PROBLEM])


def measure_file(dataset: Dataset, opened: OnnxModel, rows: LabelledRows) -> Estimate:
    """The gate's metric of what a file answers.

    Raises:
        DataCheckError: the file reads columns that the log lacks, or predicts something else.
        ModelFileError: it fails on the rows.
        GateError: the metric cannot be measured on them.
    """
    _check_fit(dataset, opened.spec, rows)
    predicted = predict_rows(dataset, opened, rows.features)
    answers = rows.rows.reset_index(drop=True).assign(
        prediction=list_answers(opened, predicted).to_pandas(),
        score=list_scores(predicted).to_pandas().astype("float64"),
    )
    answered = Answered("", "champion", answers, rows.features)
    reference = Reference(rarer=find_rarer(dataset, rows.rows["label"]))
    score = measure_answers(dataset, answered, reference)[0].score
    if score is None:
        raise GateError(
            f"{dataset.gate.metric}: found that it cannot be measured on {len(rows.rows)} rows, expected labels of "
            "the task, and probabilities where the metric needs them"
        )
    return score


def _check_fit(dataset: Dataset, spec: ModelSpec, rows: LabelledRows) -> None:
    if (spec.task, spec.target) != (dataset.task, dataset.target):
        raise DataCheckError(
            f"model file: found a {spec.task} of {spec.target}, expected a {dataset.task} of {dataset.target}; "
            "it cannot be compared"
        )
    if misfits := list_misfits(spec.features, rows.features):
        names = ", ".join(misfits[:SHOWN_COLUMNS]) + (" and more" if len(misfits) > SHOWN_COLUMNS else "")
        raise DataCheckError(
            f"model file: found that it reads {names}, expected columns of the newest logged answers; "
            "it cannot be compared"
        )
