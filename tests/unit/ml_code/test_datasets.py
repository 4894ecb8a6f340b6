from __future__ import annotations

from pathlib import Path

import pytest

from ml_code.datasets import CATALOG, load_catalog, load_dataset
from ml_code.errors import CatalogError

IRIS = (CATALOG / "iris.toml").read_text()


def test_every_shipped_dataset_can_be_used() -> None:
    catalog = load_catalog()
    assert catalog.problems == {}
    assert "iris" in catalog.datasets


def test_iris_has_the_columns_and_the_threshold_that_users_rely_on() -> None:
    iris = load_dataset("iris")
    assert iris.features == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    assert (iris.gate.metric, iris.gate.threshold, iris.holdout.share) == ("accuracy", 0.85, 0.34)


@pytest.mark.parametrize("content", [b"name = ", b"seed = " + b"9" * 5000, b"x = " + b"[" * 5000, b"name = '\xff'"])
def test_a_broken_file_takes_down_its_own_dataset_only(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "iris.toml").write_text(IRIS)
    (tmp_path / "broken.toml").write_bytes(content)
    catalog = load_catalog(tmp_path)
    assert list(catalog.datasets) == ["iris"]
    assert "broken.toml: found no valid TOML" in catalog.problems["broken"]


def test_a_file_that_cannot_be_read_takes_down_its_own_dataset_only(tmp_path: Path) -> None:
    (tmp_path / "iris.toml").write_text(IRIS)
    (tmp_path / ".#iris.toml").symlink_to("somebody@host.1:2")  # as Emacs leaves it while it has unsaved changes
    (tmp_path / "folder.toml").mkdir()
    catalog = load_catalog(tmp_path)
    assert list(catalog.datasets) == ["iris"]
    assert list(catalog.problems) == [".#iris", "folder"]


@pytest.mark.parametrize(
    ("correct", "wrong", "message"),
    [
        ('task = "classification"', 'task = "guessing"', "task: found 'guessing'"),
        ('target = "species"\n', "", "target: found nothing, expected a value"),
        ("threshold = 0.85", 'threshold = "high"', "gate.threshold: found 'high'"),
        ("threshold = 0.85", "treshold = 0.85", "gate.treshold: found an unknown key"),
        ('metric = "accuracy"', 'metric = "r2"', "gate.metric: found r2 for classification, expected one of accuracy"),
        ('metric = "accuracy"', 'metric = "average_precision"', "gate.metric: found average_precision for 3 classes"),
        ("threshold = 0.85", "threshold = 0.85\nslice_floor = nan", "gate.slice_floor"),
        ("threshold = 0.85", "threshold = 0.85\nslice_rows = 0", "gate.slice_rows"),
        ('"petal_width"]', '"petal_width "]', "numeric.3: found 'petal_width '"),
        ('"petal_width"]', '"species"]', "found species twice"),
        ('target = "species"', 'target = "species"\nkey = "species"', "key: found species, the target"),
        ("threshold = 0.85", "threshold = nan", "gate.threshold: found nan"),
        ("petal_width = { minimum = 0.01", "petal_width = { minimum = 31", "petal_width: found the minimum 31 above"),
        ("petal_width = { minimum = 0.01", "petal_width = { minimum = -inf", "petal_width.minimum: found -inf"),
        ("petal_width = { min", "petal_width = { allowed = ['x'], min", "petal_width.allowed: found 'x' for a number"),
        ("petal_width = { min", "petal_wdith = { min", "checks.columns: found petal_wdith"),
        ('name = "iris"', 'name = "irises"', "name: found 'irises', expected 'iris'"),
    ],
)
def test_a_wrong_value_is_named_with_file_key_found_and_expected(
    tmp_path: Path, correct: str, wrong: str, message: str
) -> None:
    assert correct in IRIS
    (tmp_path / "iris.toml").write_text(IRIS.replace(correct, wrong))
    with pytest.raises(CatalogError) as refused:
        load_dataset("iris", tmp_path)
    assert str(refused.value).startswith(str(tmp_path / "iris.toml"))
    assert message in str(refused.value)


def test_the_error_of_an_unknown_dataset_lists_the_known_ones() -> None:
    with pytest.raises(CatalogError, match=r"found 'tulips', expected one of .*iris"):
        load_dataset("tulips")


def test_a_broken_file_is_described_for_the_pages_of_the_dags(tmp_path: Path) -> None:
    (tmp_path / "iris.toml").write_text(IRIS)
    assert load_catalog(tmp_path).describe_problems() == ""
    (tmp_path / "tulips.toml").write_text("name = ")
    catalog = load_catalog(tmp_path)
    assert catalog.list_names() == ["iris"]
    assert "- `tulips`: " in catalog.describe_problems()


def test_a_catalog_without_a_usable_dataset_says_why(tmp_path: Path) -> None:
    (tmp_path / "iris.toml").write_text("name = ")
    with pytest.raises(CatalogError, match=r"no usable dataset \(.*iris.toml: found no valid TOML"):
        load_catalog(tmp_path).list_names()


def test_hyperparameters_of_the_catalog_are_checked_as_those_of_a_form(tmp_path: Path) -> None:
    added = "\n[hyperparameters.xgboost]\nn_trees = 5\n\n[gate]"
    (tmp_path / "iris.toml").write_text(IRIS.replace("\n[gate]", added))
    with pytest.raises(CatalogError, match="found the unknown n_trees, expected some of"):
        load_dataset("iris", tmp_path)
    (tmp_path / "iris.toml").write_text(IRIS.replace("\n[gate]", added.replace("xgboost", "forest")))
    with pytest.raises(CatalogError, match="hyperparameters: found forest, expected one of random_forest"):
        load_dataset("iris", tmp_path)


def test_a_form_offers_iris_first_where_it_is_there(tmp_path: Path) -> None:
    assert load_catalog().choose_default() == "iris"
    (tmp_path / "flowers.toml").write_text(IRIS.replace('name = "iris"', 'name = "flowers"'))
    assert load_catalog(tmp_path).choose_default() == "flowers"


def test_a_dataset_may_have_further_models() -> None:
    assert load_catalog().list_models()["IrisModel"] == "iris"
    assert load_catalog().list_models()["housing"] == "housing"


@pytest.mark.parametrize("models", ['["flowers"]', '["Iris", "Iris"]', '["iris"]'])
def test_a_models_name_belongs_to_one_dataset(tmp_path: Path, models: str) -> None:
    (tmp_path / "flowers.toml").write_text(IRIS.replace('name = "iris"', 'name = "flowers"').replace("IrisModel", "F"))
    (tmp_path / "iris.toml").write_text(IRIS.replace('["IrisModel"]', models))
    catalog = load_catalog(tmp_path)
    assert list(catalog.datasets) == ["flowers"]
    assert "iris.toml: models: found" in catalog.problems["iris"]
