from __future__ import annotations

from pathlib import Path

from serving.following.allowed import read_allowed_models


def test_a_dataset_and_its_further_models_may_be_served(tmp_path: Path) -> None:
    (tmp_path / "iris.toml").write_text('name = "iris"\nmodels = ["IrisModel", "IrisB"]\n')
    (tmp_path / "housing.toml").write_text('name = "housing"\n')
    assert read_allowed_models(tmp_path) == {
        "iris": "iris",
        "IrisModel": "iris",
        "IrisB": "iris",
        "housing": "housing",
    }


def test_a_broken_file_keeps_the_model_of_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "iris.toml").write_text("name = ")
    (tmp_path / "housing.toml").write_text("models = 3\n")
    (tmp_path / "flats.toml").write_bytes(b"\xff\xfe")
    assert read_allowed_models(tmp_path) == {"iris": "iris", "housing": "housing", "flats": "flats"}


def test_a_file_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "iris.toml"
    file.write_text('models = ["IrisModel"]\n')
    assert read_allowed_models(tmp_path) == {"iris": "iris", "IrisModel": "iris"}
    file.write_text('models = ["IrisModels"]\n')
    assert read_allowed_models(tmp_path) == {"iris": "iris", "IrisModels": "iris"}


def test_a_dataset_of_the_name_of_a_further_model_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "flats.toml").write_text('name = "flats"\n')
    (tmp_path / "iris.toml").write_text('models = ["flats"]\n')
    assert read_allowed_models(tmp_path) == {"iris": "iris", "flats": "flats"}
