"""The `[drift]` of a dataset's TOML file."""

import shutil

import pytest

from ml_code.datasets import CATALOG, load_dataset
from ml_code.drift_rules import DriftRules
from ml_code.errors import CatalogError


def load_iris(folder, rules):
    shutil.copy(CATALOG / "iris.toml", folder / "iris.toml")
    with (folder / "iris.toml").open("a") as file:
        file.write(f"\n[drift]\n{rules}\n")
    return load_dataset("iris", folder)


def test_a_window_holds_a_whole_day_without_a_table_of_rules():
    assert load_dataset("iris").drift == DriftRules(
        window_hours=24.0,
        label_horizon_days=30,
        min_new_labels=200,
        min_new_labels_per_class=20,
        unattended=False,
    )


def test_a_dataset_shortens_its_windows_by_its_file(tmp_path):
    assert load_iris(tmp_path, "window_hours = 1").drift.window_hours == 1


@pytest.mark.parametrize(
    "rules", ["window_hours = 0", "label_horizon_days = 0", "min_new_labels = 1", "unattended = 1", "psi = 0.2"]
)
def test_a_rule_out_of_its_range_or_unknown_is_refused_by_its_key(tmp_path, rules):
    with pytest.raises(CatalogError, match=f"drift.{rules.partition(' ')[0]}"):
        load_iris(tmp_path, rules)
