"""The catalog: one TOML file per dataset, which configures training, gate, `/predict` and the DAGs' forms."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ml_code.canary import Canary
from ml_code.dataset_rules import METRICS, Checks, ColumnCheck, Gate, Holdout
from ml_code.drift_rules import DriftRules
from ml_code.errors import CatalogError, TrainingError
from ml_code.families import FAMILIES, HyperparameterValue, Task, check_hyperparameters, find_family
from ml_code.markdown import escape, quote_code
from ml_code.reading.rules import ColumnName, Reading
from ml_code.sources import Part, Source

CATALOG = Path(__file__).parent / "catalog"

DEFAULT = "iris"
"""The first choice of every form: it comes with scikit-learn, so it works offline."""

type ModelName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""Characters that are safe in an address, an asset's name and MLflow's filters."""


class Dataset(Part):
    """One dataset of the catalog.

    >>> load_dataset("iris").target
    'species'
    """

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=60,
        description="equal to the name of the file without .toml",
        examples=["iris"],
    )
    description: str = Field(
        default="", description="one sentence for people", examples=["Who survived the Titanic (1) and who did not (0)"]
    )
    models: list[ModelName] = Field(
        default_factory=list,
        description="further registered models of this dataset, each with its own champion",
        examples=[["IrisModel"]],
    )
    task: Task = Field(description="kind of target: classes or a number", examples=["classification"])
    target: ColumnName = Field(description="column to predict", examples=["species"])
    numeric: list[ColumnName] = Field(
        default_factory=list, description="features that are numbers", examples=[["age", "fare"]]
    )
    categorical: list[ColumnName] = Field(
        default_factory=list, description="features that are texts", examples=[["city"]]
    )
    key: ColumnName | None = Field(
        default=None,
        description="column that identifies a row; without it the whole row identifies it",
        examples=["passenger_id"],
    )
    group: ColumnName | None = Field(
        default=None,
        description="column of a person or contract: rows of one group stay on one side of the holdout",
        examples=["customer"],
    )
    unknown: Literal["warn", "refuse"] = Field(
        default="warn",
        description="what `/predict` does with an unseen category or a number outside of its range",
        examples=["refuse"],
    )
    source: Source = Field(description="where the first rows come from", examples=[{"kind": "s3", "key": "raw/a.csv"}])
    reading: Reading = Field(
        default_factory=Reading, description="how the files are written", examples=[{"separator": ";", "decimal": ","}]
    )
    checks: Checks = Field(
        default_factory=Checks, description="which rows are valid", examples=[{"bad_rows_share": 0.05}]
    )
    holdout: Holdout = Field(
        default_factory=Holdout, description="which rows no model trains on", examples=[{"share": 0.34}]
    )
    hyperparameters: dict[str, dict[str, HyperparameterValue]] = Field(
        default_factory=dict,
        description="of each family of models (random_forest, xgboost, ...); a request overrides them",
        examples=[{"random_forest": {"min_samples_leaf": 3}}],
    )
    gate: Gate = Field(
        description="what a version must reach before it serves", examples=[{"metric": "accuracy", "threshold": 0.85}]
    )
    canary: Canary = Field(
        default_factory=Canary,
        description="how a new version is watched beside the one that serves",
        examples=[{"window_seconds": 60}],
    )
    drift: DriftRules = Field(
        default_factory=DriftRules, description="when a model is trained again", examples=[{"window_hours": 168}]
    )
    require_approval: bool = Field(
        default=False, description="whether a person approves each version after its canary", examples=[True]
    )

    @property
    def features(self) -> list[str]:
        """The columns that a model reads, first the numeric ones."""
        return [*self.numeric, *self.categorical]

    @property
    def columns(self) -> list[str]:
        """Every required column of a source."""
        further = [name for name in (self.key, self.group) if name is not None and name not in self.features]
        return [*dict.fromkeys(further), *self.features, self.target]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.features:
            raise ValueError("numeric, categorical: found no feature, expected one or more")
        names = [*self.features, self.target]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"numeric, categorical, target: found {', '.join(twice)} twice, expected each name once")
        self._refuse_target_as_key()
        self._refuse_impossible_checks()
        for field, used in (
            ("checks.columns", self.checks.columns),
            ("holdout.columns", self.holdout.columns or []),
            ("reading.columns", self.reading.columns),
        ):
            unknown = sorted(set(used) - set(self.columns))
            if unknown:
                raise ValueError(f"{field}: found {', '.join(unknown)}, expected names of {', '.join(self.columns)}")
        if self.gate.metric not in METRICS[self.task]:
            expected = ", ".join(METRICS[self.task])
            raise ValueError(f"gate.metric: found {self.gate.metric} for {self.task}, expected one of {expected}")
        self._refuse_metric_of_two_classes()
        for name, values in self.hyperparameters.items():
            if name not in FAMILIES:
                raise ValueError(f"hyperparameters: found {name}, expected one of {', '.join(FAMILIES)}")
            model_type, estimator = FAMILIES[name]
            try:
                check_hyperparameters(find_family(model_type, estimator, self.task), values)
            except TrainingError as error:
                raise ValueError(f"hyperparameters.{name}: {error}") from error
        return self

    def _refuse_target_as_key(self) -> None:
        for field, column, use in (("key", self.key, "identify a row"), ("group", self.group, "group rows")):
            if column == self.target:
                raise ValueError(f"{field}: found {column}, the target, which does not {use}; expected another column")

    def _refuse_metric_of_two_classes(self) -> None:
        labels = self.checks.columns.get(self.target, ColumnCheck()).allowed
        if self.gate.metric == "average_precision" and labels is not None and len(labels) != 2:
            raise ValueError(
                f"gate.metric: found average_precision for {len(labels)} classes, expected two; "
                "choose balanced_accuracy or f1_macro"
            )

    def _refuse_impossible_checks(self) -> None:
        for name, check in self.checks.columns.items():
            low, high = check.minimum, check.maximum
            if low is not None and high is not None and low > high:
                raise ValueError(f"checks.columns.{name}: found the minimum {low:g} above the maximum {high:g}")
            texts = [label for label in check.allowed or [] if isinstance(label, str)]
            if texts and (name in self.numeric or (name == self.target and self.task == "regression")):
                raise ValueError(f"checks.columns.{name}.allowed: found {texts[0]!r} for a number, expected numbers")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The usable datasets, and the faults of the others, by name."""

    datasets: Mapping[str, Dataset]
    problems: Mapping[str, str]

    def list_names(self) -> list[str]:
        """The sorted names of the datasets.

        Raises:
            CatalogError: there is none.
        """
        if not self.datasets:
            wrong = "; ".join(self.problems.values()) or "no TOML file"
            raise CatalogError(f"catalog: found no usable dataset ({wrong}), expected at least one")
        return sorted(self.datasets)

    def list_models(self) -> dict[str, str]:
        """Every registered model, sorted, with its dataset.

        Raises:
            CatalogError: there is none.
        """
        of_dataset = [(name, name) for name in self.list_names()]
        further = [(model, dataset.name) for dataset in self.datasets.values() for model in dataset.models]
        return dict(sorted([*of_dataset, *further]))

    def choose_default(self) -> str:
        """The first choice of a form.

        Raises:
            CatalogError: there is none.
        """
        names = self.list_names()
        return DEFAULT if DEFAULT in names else names[0]

    def describe_problems(self) -> str:
        """The faults as Markdown for the page of a DAG; empty without faults."""
        lines = [f"- {quote_code(name)}: {escape(problem)}" for name, problem in sorted(self.problems.items())]
        return "\n".join(["", "## Datasets left out, because their file is broken", *lines, ""]) if lines else ""


def load_catalog(folder: Path | None = None) -> Catalog:
    """Reads every TOML file; a broken one leaves out only its own dataset."""
    datasets: dict[str, Dataset] = {}
    problems: dict[str, str] = {}
    for path in sorted((folder or CATALOG).glob("*.toml")):
        try:
            datasets[path.stem] = _read(path)
        except CatalogError as error:
            problems[path.stem] = str(error)
    for name, dataset in list(datasets.items()):
        others = {model for other in datasets.values() if other.name != name for model in [other.name, *other.models]}
        taken = sorted({model for model in dataset.models if model in others or dataset.models.count(model) > 1})
        if taken or name in dataset.models:
            problems[name] = (
                f"{(folder or CATALOG) / name}.toml: models: found {', '.join(taken) or name}, the name of another "
                "model, expected unique names; correct the file"
            )
            del datasets[name]
    return Catalog(datasets, problems)


def load_dataset(name: str, folder: Path | None = None) -> Dataset:
    """Reads one dataset.

    Raises:
        CatalogError: the catalog has no such dataset, or its file is broken.
    """
    catalog = load_catalog(folder)
    if name in catalog.problems:
        raise CatalogError(catalog.problems[name])
    if name not in catalog.datasets:
        raise CatalogError(
            f"dataset: found {name!r}, expected one of {', '.join(catalog.datasets) or 'none'}; "
            f"choose one of these, or add {folder or CATALOG}/{name}.toml"
        )
    return catalog.datasets[name]


def _read(path: Path) -> Dataset:
    try:
        dataset = Dataset.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:  # such as the dangling link that some editors create beside an open file
        raise CatalogError(f"{path}: found {error.strerror}, expected a readable file; fix or remove it") from error
    except ValidationError as error:
        raise CatalogError(f"{path}: {describe_problems(error)}; correct the file") from error
    except (ValueError, RecursionError) as error:  # also for numbers with thousands of digits and nested brackets
        raise CatalogError(f"{path}: found no valid TOML ({error}), expected a dataset; correct the file") from error
    if dataset.name != path.stem:
        raise CatalogError(f"{path}: name: found {dataset.name!r}, expected {path.stem!r}; rename one of them")
    return dataset


def describe_problems(error: ValidationError) -> str:
    """The faults of a dataset: key, found and expected of each."""
    problems = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "value_error":
            problems.append(": ".join(filter(None, (key[:100], str(problem["ctx"]["error"])[:500]))))
        elif problem["type"] == "missing":
            problems.append(f"{key}: found nothing, expected a value")
        elif problem["type"] == "extra_forbidden":
            problems.append(f"{key}: found an unknown key, expected a known one")
        elif problem["type"] == "string_pattern_mismatch":
            found = repr(problem["input"])[:100]
            problems.append(f"{key[:100]}: found {found}, expected letters a to z, digits and _, with a letter first")
        else:
            problems.append(f"{key[:100]}: found {repr(problem['input'])[:100]}, expected: {problem['msg'][:200]}")
    return "; ".join(problems)
