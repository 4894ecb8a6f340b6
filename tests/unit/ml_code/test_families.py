from __future__ import annotations

import pytest

from ml_code.errors import TrainingError
from ml_code.families import check_hyperparameters, find_family


def test_sklearn_means_a_random_forest_by_default() -> None:
    assert find_family("sklearn", None, "classification").name == "random_forest"


def test_a_linear_model_has_other_hyperparameters_for_other_tasks() -> None:
    assert "C" in find_family("sklearn", "linear", "classification").hyperparameters
    assert "alpha" in find_family("sklearn", "linear", "regression").hyperparameters


@pytest.mark.parametrize(
    ("model_type", "estimator", "message"),
    [
        ("torch", None, "found 'torch', expected one of sklearn, xgboost, lightgbm"),
        ("sklearn", "svm", "found 'svm', expected one of random_forest, gradient_boosting, linear"),
        ("xgboost", "linear", "found 'linear' for xgboost, expected none"),
    ],
)
def test_the_error_of_an_unknown_name_lists_the_known_ones(
    model_type: str, estimator: str | None, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        find_family(model_type, estimator, "classification")


def test_the_error_of_unknown_hyperparameters_lists_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"the unknown n_trees, expected some of n_estimators, learning_rate"):
        check_hyperparameters(find_family("xgboost", None, "classification"), {"n_trees": 5})


@pytest.mark.parametrize("value", ["many", 0, -1, 2.5, True, None, 10**9, [1], float("nan")])
def test_a_value_of_the_wrong_type_or_size_is_refused(value: object) -> None:
    with pytest.raises(TrainingError, match=r"n_estimators of random_forest: found .*, expected int from 1 to 2000"):
        check_hyperparameters(find_family("sklearn", None, "classification"), {"n_estimators": value})


@pytest.mark.parametrize("value", ["sqrt", 0.5, 1, None])
def test_a_hyperparameter_may_accept_names_and_null_beside_numbers(value: object) -> None:
    family = find_family("sklearn", "random_forest", "classification")
    assert check_hyperparameters(family, {"max_features": value})["max_features"] == value


def test_given_values_override_the_defaults() -> None:
    family = find_family("sklearn", "linear", "classification")
    assert check_hyperparameters(family, {"C": 2})["max_iter"] == 1000
    assert check_hyperparameters(family, {"max_iter": 5}) == {"max_iter": 5}
