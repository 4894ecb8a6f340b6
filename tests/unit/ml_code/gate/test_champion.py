from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx
import pandas as pd
import pytest
from pydantic import SecretStr

from ml_code.dataset_rules import Checks, ColumnCheck
from ml_code.datasets import Dataset, load_dataset
from ml_code.errors import DataCheckError, DigestError, ModelFileError
from ml_code.families import find_family
from ml_code.gate.challenger import UNKNOWN_HOLDOUT, Challenger, find_misfit
from ml_code.gate.champion import DECISION, compare_with_champion
from ml_code.gate.decision import Decision
from ml_code.gate.evaluation import predict_rows
from ml_code.gate.evidence import Comparison
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import METADATA_KEY
from ml_code.signature import SIGNED, Signer
from ml_code.tracking import RunRecord, Tracker, VersionRecord
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import fit_pipeline
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace
from tests.offline_settings import make_offline_settings
from tests.unit.ml_code.verdicts_warehouse import VerdictsWarehouse
from tests.unit.serving.onnx_files import make_classifier

HOLDOUT = pd.DataFrame(
    {
        "sepal_length": [5.1, 6.0, 7.7],
        "sepal_width": [3.5, 2.9, 3.0],
        "petal_length": [1.4, 4.5, 6.1],
        "petal_width": [0.2, 1.5, 2.3],
        "species": [0, 1, 2],
    }
)
RUN = RunRecord("run", "FINISHED", {}, {}, {"model": "iris", "holdout_id": "rule", "dataset_version": "rows"})


class FakeTracker:
    """A registry with one champion and the versions before it; a test may spoil the champion's file."""

    def __init__(
        self, content: bytes | Exception, aliases: dict[str, str], before: dict[str, bytes] | None = None, **tags: str
    ) -> None:
        self.before = before or {}
        self.content = content
        self.aliases = aliases
        self.tags = {"holdout_id": "rule", "dataset_version": "rows"} | tags

    def read_aliases(self, name: str) -> dict[str, str]:
        return self.aliases

    def read_version(self, name: str, version: str) -> VersionRecord:
        return VersionRecord(name, version, "before", self.tags)

    def list_versions(self, name: str) -> list[VersionRecord]:
        return [VersionRecord(name, version, "before", self.tags) for version in self.before]

    def read_model_file(self, name: str, version: str) -> bytes:
        if version in self.before:
            return self.before[version]
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def challenge(
    content: bytes, holdout: pd.DataFrame = HOLDOUT, dataset: Dataset | None = None, run: RunRecord = RUN
) -> Challenger:
    dataset, model = dataset or load_dataset("iris"), OnnxModel(content)
    return Challenger(run, dataset, holdout, holdout, model, predict_rows(dataset, model, holdout))


def connect(tracker: FakeTracker, **verdicts: str) -> Workspace:
    """A workspace with this registry, whose gate signs; the log has these verdicts."""
    return Workspace(
        make_offline_settings(Path("unused"), gate_signing_key=SecretStr("key of the gate")),
        connect_tracker=lambda _: cast(Tracker, tracker),
        connect_warehouse=lambda _: cast(Warehouse, VerdictsWarehouse(**verdicts)),
    )


def compare(
    content: bytes | Exception,
    holdout: pd.DataFrame = HOLDOUT,
    verdicts: Mapping[str, str] | None = None,
    **changes: Any,
) -> Comparison | None:
    tracker = FakeTracker(content, **({"aliases": {"champion": "3"}} | changes))
    challenger = replace(challenge(make_classifier()), holdout=holdout)
    return compare_with_champion(connect(tracker, **(verdicts or {})), challenger)


def test_without_a_champion_there_is_nothing_to_compare() -> None:
    assert compare(b"", aliases={}) is None


def test_a_champion_is_measured_on_the_rows_of_the_challenger() -> None:
    found = compare(make_classifier(answer=0))
    assert found
    assert found.champion_score == pytest.approx(1 / 3)
    assert found.difference == pytest.approx(2 / 3)
    assert (found.has_seen_data, found.schema_change, found.problem) == (True, None, None)


def test_a_champion_of_other_rows_has_not_seen_these() -> None:
    found = compare(make_classifier(), dataset_version="older")
    assert found
    assert not found.has_seen_data


@pytest.mark.parametrize("error", [DigestError("altered"), ModelFileError("no spec")])
def test_a_champion_whose_file_is_spoilt_does_not_compare_and_blocks_no_successor(error: Exception) -> None:
    found = compare(error)
    assert found
    assert found.champion_score is None
    assert "its file cannot be read" in (found.problem or "")


def test_a_champion_that_held_out_other_rows_does_not_compare() -> None:
    found = compare(make_classifier(), holdout_id="another rule")
    assert found
    assert "held out other rows" in (found.problem or "")


def test_a_champion_that_reads_a_column_which_is_gone_does_not_compare() -> None:
    found = compare(make_classifier(), HOLDOUT.drop(columns="petal_width"))
    assert found
    assert "petal_width" in (found.problem or "")


def test_two_models_of_unknown_rows_do_not_compare() -> None:
    tracker = FakeTracker(make_classifier(), {"champion": "3"}, holdout_id=UNKNOWN_HOLDOUT)
    run = replace(RUN, tags={**RUN.tags, "holdout_id": UNKNOWN_HOLDOUT})
    found = compare_with_champion(connect(tracker), challenge(make_classifier(), run=run))
    assert found
    assert "it held out other rows" in (found.problem or "")


def relabel(content: bytes, *labels: int | str) -> bytes:
    """The file with other classes."""
    model = onnx.load_from_string(content)
    described = OnnxModel(content).spec.model_copy(update={"classes": list(labels)})
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: described.model_dump_json()})
    changed: bytes = model.SerializeToString()
    return changed


def measure_change(champion: bytes, challenger: bytes, dataset: Dataset | None = None) -> Comparison:
    tracker = FakeTracker(champion, {"champion": "3"})
    found = compare_with_champion(connect(tracker), challenge(challenger, dataset=dataset))
    assert found
    return found


def test_a_challenger_that_reads_other_columns_is_told_apart() -> None:
    iris = load_dataset("iris")
    fewer = iris.model_copy(update={"numeric": iris.numeric[:3]})
    rows = HOLDOUT.assign(petal_width=HOLDOUT["petal_width"].astype("str"))
    frame = pd.concat([rows] * 10, ignore_index=True)
    pipeline = fit_pipeline(fewer, frame, find_family("sklearn", "linear", "classification"), {})
    content = export_pipeline(fewer, pipeline, [0, 1, 2], frame).content
    tracker = FakeTracker(make_classifier(), {"champion": "3"})
    found = compare_with_champion(connect(tracker), challenge(content, rows, fewer))
    assert found
    assert found.champion_score is not None
    assert found.schema_change == "it reads other columns than the champion, version 3: without petal_width"


@pytest.mark.parametrize("labels", [("0", "1", "2"), (0, 1, 3)])
def test_other_classes_or_another_kind_of_them_is_another_schema(labels: tuple[int | str, ...]) -> None:
    plain = load_dataset("iris").model_copy(update={"checks": Checks()})
    found = measure_change(make_classifier(), relabel(make_classifier(), *labels), plain)
    shown = ", ".join(f'"{label}"' if isinstance(label, str) else str(label) for label in labels)
    assert found.schema_change == f"its classes are {shown}; the champion's are 0, 1, 2"
    assert found.problem is None


def test_classes_that_the_catalog_corrects_do_not_compare() -> None:
    allowed = {"species": ColumnCheck(allowed=[0, 1, 3])}
    corrected = load_dataset("iris").model_copy(update={"checks": Checks(columns=allowed)})
    found = measure_change(make_classifier(), relabel(make_classifier(), 0, 1, 3), corrected)
    assert found.problem == "its classes are 0, 1, 3; the champion's are 0, 1, 2"


def test_a_file_that_answers_labels_itself_is_compared_by_their_kind() -> None:
    itself = make_classifier()
    model = onnx.load_from_string(itself)
    described = OnnxModel(itself).spec.model_copy(update={"classes": None, "probabilities_output": None})
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: described.model_dump_json()})
    assert measure_change(model.SerializeToString(), make_classifier()).schema_change is None


DECIDED = Decision("iris", "promote", "", "accuracy", 0.9, 0.85, 50, "data", best_version="1").to_json()


def test_the_best_champion_so_far_is_measured_again_if_it_is_better() -> None:
    always = make_classifier(answer=0)
    found = compare(always, before={"1": make_classifier()}, **{DECISION: DECIDED})
    assert found
    assert found.best_version == "1"
    assert found.best
    assert (found.best.score, found.best.difference) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("before", "verdicts"),
    [
        ({}, {}),  # deleted
        ({"1": make_classifier(answer=0)}, {}),  # not better than the champion
        ({"1": make_classifier()}, {"version_1": "rolled back"}),
        ({"1": b"spoilt"}, {}),
        ({"1": relabel(make_classifier(), "0", "1", "2")}, {}),
    ],
)
def test_an_earlier_champion_that_is_gone_or_no_better_does_not_count(
    before: dict[str, bytes], verdicts: dict[str, str]
) -> None:
    found = compare(make_classifier(answer=0), before=before, verdicts=verdicts, **{DECISION: DECIDED})
    assert found
    assert found.best is None
    assert found.best_version is None


def test_a_tag_that_anybody_may_write_takes_no_champion_out_of_the_comparison() -> None:
    tags = {"rolled_back": "it answered nonsense", "rollout": "aborted"}
    found = compare(make_classifier(answer=0), before={"1": make_classifier()}, **{DECISION: DECIDED}, **tags)
    assert found
    assert found.best_version == "1"


def test_a_champion_whose_decision_was_altered_after_its_signature_does_not_compare() -> None:
    tags = {"gate": "passed", "holdout_id": "rule", "dataset_version": "rows", DECISION: DECIDED}
    tags[SIGNED] = Signer(b"key of the gate").sign_version("iris", "3", tags)
    found = compare(make_classifier(), **tags)
    assert found
    assert found.problem is None
    found = compare(make_classifier(), **tags | {DECISION: DECIDED.replace('"1"', "null")})
    assert found
    assert found.problem == "its tags are not those that the gate signed"


def test_a_champion_without_a_readable_decision_has_no_best_before_it() -> None:
    for spoilt in ("", "[]", "{}", "null"):
        found = compare(make_classifier(), **{DECISION: spoilt})
        assert found
        assert found.best is None


def correct(**changes: Any) -> Dataset:
    """Iris after a correction of its file."""
    return load_dataset("iris").model_copy(update=changes)


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        (correct(task="regression"), "it answers classes, and the task is regression now"),
        (correct(target="petal_width"), "it predicts species, and the target is petal_width now"),
        (
            correct(numeric=["sepal_length", "sepal_width", "petal_length"], categorical=["petal_width"]),
            "it reads petal_width as numeric, which is categorical now",
        ),
    ],
)
def test_a_champion_of_an_uncorrected_catalog_does_not_fit(dataset: Dataset, problem: str) -> None:
    assert find_misfit(dataset, OnnxModel(make_classifier()).spec, HOLDOUT) == problem


def test_a_column_that_the_champion_reads_as_numbers_and_that_is_text_now_is_named() -> None:
    iris = load_dataset("iris")
    rows = HOLDOUT.assign(petal_width=["0.2", "wide", None])
    with pytest.raises(DataCheckError, match="column petal_width: found 1 texts, expected numbers"):
        predict_rows(iris, OnnxModel(make_classifier()), rows)
    assert predict_rows(iris, OnnxModel(make_classifier()), rows.replace("wide", "1.5")).values[:2] == [0, 1]
    tracker = FakeTracker(make_classifier(), {"champion": "3"})
    challenger = replace(challenge(make_classifier()), holdout=rows)
    found = compare_with_champion(connect(tracker), challenger)
    assert found
    assert found.problem
    assert "it cannot be measured (column petal_width: found 1 texts" in found.problem


def test_a_file_that_fails_on_the_rows_blocks_no_successor() -> None:
    """A class id without a label."""
    found = compare(relabel(make_classifier(), 0, 1))
    assert found
    assert "it cannot be measured (model file for iris: found that it fails" in (found.problem or "")
