"""A version is opened in a process of its own, which a bad file may take down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ml_code.model_file.onnx_model import OnnxModel
from serving.errors import BreachError, InconclusiveError, RegistryError
from serving.rollout import validation
from serving.rollout.validation import Candidate, Measured, find_schema_change, measure, validate
from serving.rollout.validation_child import count_largest_rows
from tests.unit.serving.bad_files import make_bad_classifier, make_crashing, make_slow_to_open
from tests.unit.serving.fake_registry import FILE, FakeRegistryWriter
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor, make_wide_regressor

LIMIT_BYTES = 10_000_000


def check(registry: FakeRegistryWriter, champion: str | None = "1", *, allow_schema_change: bool = False) -> Measured:
    candidate = Candidate(registry, "iris", "2", champion, LIMIT_BYTES)
    return validate(candidate, dataset="iris", allow_schema_change=allow_schema_change)


@pytest.fixture
def registry() -> FakeRegistryWriter:
    registry = FakeRegistryWriter(champion="1")
    registry.add("1")
    return registry


def test_a_sound_file_is_measured(registry: FakeRegistryWriter) -> None:
    registry.add("2")
    measured = check(registry)
    assert measured.spec.dataset == "iris"
    assert 0 < measured.one_row_ms < measured.thousand_rows_ms
    assert measured.thousand_rows_ms / 1000 < measured.largest_ms < validation.LONGEST_ANSWER_MS
    assert measured.memory_mb < 100


def test_the_largest_requests_at_once_are_tried(tmp_path: Path) -> None:
    """Each is ten thousand rows of 5,000 columns, 200 MB if they were computed together."""
    file = tmp_path / "model.onnx"
    file.write_bytes(make_wide_regressor())
    measured = measure(file, "wide version 1")
    assert measured.largest_ms > measured.thousand_rows_ms
    assert 15 < measured.memory_mb < 100


@pytest.mark.parametrize(("features", "rows"), [(1, 10_000), (49, 10_000), (999, 500)])
def test_a_request_is_as_large_as_its_body_allows(features: int, rows: int) -> None:
    class Wide:
        spec = SimpleNamespace(features=[None] * features)

    assert count_largest_rows(cast(OnnxModel, Wide())) == rows


def test_what_the_process_that_asks_has_held_is_no_memory_of_the_file() -> None:
    held = b"x" * 500_000_000
    del held
    program = "from serving.rollout.validation_child import read_peak_mb; print(read_peak_mb())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 400


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (make_classifier()[:-300], "cannot open"),
        (b"no model", "cannot open"),
        (make_classifier(golden_predictions=[2, 2, 2]), "golden row"),
        (make_mixed_regressor(), "found the model file of the dataset ships, expected one of iris"),
        (make_crashing(), "ends its process by SIG"),
    ],
    ids=["truncated", "not ONNX", "golden differs", "other dataset", "crash"],
)
def test_a_bad_file_is_a_breach(registry: FakeRegistryWriter, content: bytes, cause: str) -> None:
    registry.add("2", content)
    with pytest.raises(BreachError, match=cause):
        check(registry)


def test_opening_a_file_is_ended_after_the_time_limit(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(make_slow_to_open())
    with pytest.raises(BreachError, match="was not validated after 2 s"):
        measure(file, "iris version 2", wall_seconds=2)


def replace_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deaths: int) -> None:
    """Puts a process in the child's place that dies so many times and measures a file afterwards."""
    count = tmp_path / "deaths"
    program = (
        "import os, pathlib, sys; from serving.rollout import validation_child as child; "
        f"count = pathlib.Path({str(count)!r}); died = len(count.read_text()) if count.exists() else 0; "
        f"died < {deaths} and (count.write_text('x' * (died + 1)), os.kill(os.getpid(), 9)); "
        "sys.argv = ['child', *sys.argv[1:]]; child.main()"
    )
    monkeypatch.setattr(validation, "CHILD", ["-c", program])


def test_a_process_that_dies_once_does_not_condemn_its_file(
    registry: FakeRegistryWriter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry.add("2")
    replace_child(monkeypatch, tmp_path, deaths=1)
    assert check(registry, None).spec.dataset == "iris"


def test_the_second_death_of_a_process_is_a_breach(
    registry: FakeRegistryWriter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry.add("2")
    replace_child(monkeypatch, tmp_path, deaths=2)
    with pytest.raises(BreachError, match="ends its process by SIGKILL"):
        check(registry, None)


def test_a_process_that_gets_no_time_does_not_condemn_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(validation, "CHILD", ["-S", "-c", "import time; time.sleep(60)"])
    with pytest.raises(InconclusiveError, match="the machine slept or is overloaded"):
        measure(tmp_path / "model.onnx", "iris version 2", wall_seconds=1.5)


def test_a_file_that_was_away_for_a_moment_is_not_missing(registry: FakeRegistryWriter) -> None:
    registry.add("2")
    registry.files["2"] = None
    download = registry.download

    def come_back(model: str, version: str, target: Path, limit_bytes: int) -> str:
        if version == "1":
            registry.files["2"] = FILE
        return download(model, version, target, limit_bytes)

    registry.download = come_back  # type: ignore[method-assign]
    assert check(registry).spec.dataset == "iris"


def test_a_file_with_another_digest_is_a_breach(registry: FakeRegistryWriter) -> None:
    registry.add("2", sha256="0" * 64)
    with pytest.raises(BreachError, match="truncated or altered"):
        check(registry)


def test_a_missing_file_is_a_breach_where_the_store_answers_and_an_outage_where_not(
    registry: FakeRegistryWriter,
) -> None:
    registry.add("2", None)
    with pytest.raises(BreachError, match="its file is missing"):
        check(registry)
    registry.files["1"] = None
    with pytest.raises(RegistryError):
        check(registry)


def test_another_schema_needs_to_be_allowed(registry: FakeRegistryWriter) -> None:
    registry.add("2", make_bad_classifier(names=("sepal_length", "sepal_width", "petal_length", "colour")))
    with pytest.raises(BreachError, match=r"schema: found the features .*colour \(numeric\), expected"):
        check(registry)
    assert check(registry, allow_schema_change=True).spec.features[-1].name == "colour"


def test_a_champion_that_does_not_open_holds_nobody_up(registry: FakeRegistryWriter) -> None:
    registry.files["1"] = b"no model"
    registry.add("2")
    assert check(registry).spec.dataset == "iris"


@pytest.mark.parametrize("limit", ["ONE_ROW_MS", "THOUSAND_ROWS_MS", "LONGEST_ANSWER_MS", "MEMORY_MB"])
def test_a_file_that_costs_too_much_is_a_breach(
    registry: FakeRegistryWriter, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    registry.add("2")
    monkeypatch.setattr(validation, limit, -1.0)
    with pytest.raises(BreachError, match="train a smaller model"):
        check(registry)


def test_the_first_version_has_no_schema_to_keep(registry: FakeRegistryWriter) -> None:
    registry.add("2")
    assert check(registry, None).spec.dataset == "iris"


def test_further_classes_are_no_change_and_fewer_are(registry: FakeRegistryWriter) -> None:
    registry.add("2")
    before = check(registry).spec
    more = before.model_copy(update={"classes": [0, 1, 2, 3]})
    assert find_schema_change(before, more) is None
    assert find_schema_change(more, before) == "found no class 3, expected every class of the champion"
    assert find_schema_change(before, before.model_copy(update={"probabilities_output": None})) is not None
    turned = before.model_copy(update={"features": before.features[::-1]})
    assert "found the features petal_width" in (find_schema_change(before, turned) or "")
