"""Searches hyperparameters by Optuna: each trial is a cross-validation on the training rows and a nested MLflow run.

The search does not read the holdout: the gate judges the model with the best hyperparameters on it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import optuna
import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState
from sklearn.model_selection import KFold, StratifiedKFold

from ml_code.data import features, holdout
from ml_code.data.snapshots import name_version, read_snapshot
from ml_code.dataset_rules import LOWER_IS_BETTER
from ml_code.datasets import Dataset
from ml_code.errors import TrainingError
from ml_code.families import Family, HyperparameterValue, check_hyperparameters, find_family
from ml_code.gate import evaluation
from ml_code.model_file.onnx_model import Prediction
from ml_code.search.space import find_space, list_grid
from ml_code.tracking import MODEL
from ml_code.training import plans
from ml_code.training.fitting import SEED, fit_pipeline
from ml_code.workspace import Workspace

type Folds = list[tuple[pd.DataFrame, pd.DataFrame]]
type Sampler = Literal["tpe", "random", "grid"]

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler.__value__)
FOLDS = 3
SCHEMA = "optuna"
MOST_TRIALS = 500
STARTED_BY, ENDED_BY = "started_by", "ended_by"
"""Attributes of a trial: its worker, set at its start and at its end."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Search:
    """One search, as tasks pass it on."""

    study: str
    dataset: str
    model_type: str
    estimator: str | None
    sampler: Sampler
    trials: int
    snapshot_uri: str
    parent_run_id: str


def plan_search(
    workspace: Workspace,
    params: Mapping[str, Any],
    snapshot_uri: str,
    key: str,
    storage: optuna.storages.BaseStorage,
) -> Search:
    """Creates the study and its MLflow run, or finds those of the same key.

    Args:
        workspace: with MLflow and the catalog.
        params: `dataset`, `model_type`, `estimator`, `sampler` and `trials` of the form; a grid has as many trials as
            points, but at most `trials`.
        snapshot_uri: rows, from `snapshots.prepare`.
        key: names the search; a repeated call creates nothing new.
        storage: Optuna's, from `open_storage`.

    Raises:
        TrainingError: sampler, model type or estimator is not offered, or there are too many trials.
        TrackingError: MLflow refuses.
    """
    sampler, trials = params.get("sampler", "tpe"), int(params.get("trials", 12))
    if sampler not in SAMPLERS:
        raise TrainingError(f"sampler: found {sampler!r}, expected one of {', '.join(SAMPLERS)}; choose one of these")
    if not 1 <= trials <= MOST_TRIALS:
        raise TrainingError(f"trials: found {trials}, expected 1 to {MOST_TRIALS}; choose fewer")
    plan = plans.plan_training({**params, "hyperparameters": {}}, catalog_dir=workspace.settings.catalog_dir)
    dataset = workspace.load_dataset(plan["dataset"])
    family = find_family(plan["model_type"], plan["estimator"], dataset.task)
    tags = {
        "dataset": dataset.name,
        MODEL: dataset.name,
        "model_type": family.model_type,
        "estimator": family.name,
        "dataset_version": name_version(snapshot_uri),
        "search": key,
    }
    name = f"{dataset.name}-{family.name}-{sampler}-search"
    run = workspace.tracker.find_or_create_run(dataset.name, key, name, tags)
    is_lower_better = dataset.gate.metric in LOWER_IS_BETTER
    direction = StudyDirection.MINIMIZE if is_lower_better else StudyDirection.MAXIMIZE
    study = optuna.create_study(storage=storage, study_name=key, direction=direction, load_if_exists=True)
    if sampler == "grid":
        points = list_grid(find_space(family, dataset), trials)
        if not study.get_trials(deepcopy=False):
            for point in points:
                study.enqueue_trial(point)
        trials = len(points)
    return Search(key, dataset.name, family.model_type, family.estimator, sampler, trials, snapshot_uri, run.run_id)


def run_trials(
    workspace: Workspace, search: Search, count: int, worker: int, storage: optuna.storages.BaseStorage
) -> int:
    """Runs the missing trials of a worker's share, and returns the number of its ended trials.

    Raises:
        TrainingError: the family is no longer offered.
        TrackingError: MLflow refuses.
    """
    dataset = workspace.load_dataset(search.dataset)
    family = find_family(search.model_type, search.estimator, dataset.task)
    rows = holdout.split_holdout(dataset, read_snapshot(workspace, search.snapshot_uri)).train
    study = optuna.load_study(
        study_name=search.study,
        storage=storage,
        sampler=_make_sampler(search, worker),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    trials = _Trials(workspace, search, dataset, family, _split_folds(dataset, rows))
    _requeue_interrupted_trials(study, worker)
    while (done := _count_ended(study, worker)) < count:
        trial = study.ask()
        trial.set_user_attr(STARTED_BY, worker)
        trials.run(study, trial)
    return done


def share_trials(search: Search, workers: int) -> list[int]:
    """Shares the trials evenly among the workers; a worker without trials is left out."""
    shares = [search.trials // workers + (number < search.trials % workers) for number in range(workers)]
    return [share for share in shares if share]


def open_storage(workspace: Workspace) -> optuna.storages.BaseStorage:
    """Optuna's tables, in their own schema of the warehouse.

    Raises:
        SettingsError: the settings name no warehouse.
    """
    warehouse = workspace.warehouse
    engine = {"creator": lambda: warehouse.connect(SCHEMA), "pool_pre_ping": True}
    return optuna.storages.RDBStorage("postgresql+psycopg2://", engine_kwargs=engine)


def search_at_once(
    workspace: Workspace, params: Mapping[str, Any], snapshot_uri: str, key: str
) -> dict[str, HyperparameterValue]:
    """Runs a whole search in this process, with the arguments of `plan_search`; returns the best hyperparameters."""
    storage = optuna.storages.InMemoryStorage()
    search = plan_search(workspace, params, snapshot_uri, key, storage)
    run_trials(workspace, search, search.trials, 0, storage)
    return finish_search(workspace, search, storage)


def finish_search(
    workspace: Workspace, search: Search, storage: optuna.storages.BaseStorage
) -> dict[str, HyperparameterValue]:
    """Writes the best hyperparameters on the run of the search, ends the run, and returns them.

    Raises:
        TrainingError: no trial succeeded.
        TrackingError: MLflow refuses.
    """
    tracker = workspace.tracker
    study = optuna.load_study(study_name=search.study, storage=storage)
    try:
        best = dict(study.best_trial.params)
    except ValueError as error:
        tracker.end_run(search.parent_run_id, is_failed=True)
        raise TrainingError(
            f"search {search.study}: found no successful trial, expected one; look at its runs in MLflow"
        ) from error
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    metrics = {
        "cv_best": float(study.best_value),
        "trials": float(len(states)),
        "trials_pruned": float(states.count(TrialState.PRUNED)),
    }
    tracker.log(search.parent_run_id, metrics=metrics, tags={"best_hyperparameters": json.dumps(best, sort_keys=True)})
    tracker.end_run(search.parent_run_id)
    log.info("%s: the best of %d trials is %.5g with %s", search.study, len(states), study.best_value, best)
    return best


class _Trials:
    """Runs trials in turn on the same folds, and records the result of each in Optuna and MLflow."""

    def __init__(self, workspace: Workspace, search: Search, dataset: Dataset, family: Family, folds: Folds) -> None:
        self._search = search
        self._dataset = dataset
        self._family = family
        self._folds = folds
        self._threads = workspace.settings.training_threads
        self._tracker = workspace.tracker

    def run(self, study: optuna.Study, trial: Trial) -> None:
        """Runs one trial, as a nested run of the search's run."""
        given = {name: span.suggest(trial, name) for name, span in find_space(self._family, self._dataset).items()}
        tags = {
            "mlflow.parentRunId": self._search.parent_run_id,
            "dataset": self._dataset.name,
            "search": self._search.study,
            "trial": str(trial.number),
        }
        key, name = f"{self._search.study}/{trial.number}", f"trial {trial.number}"
        run_id = self._tracker.find_or_create_run(self._dataset.name, key, name, tags).run_id
        self._tracker.log(run_id, params=given)
        state, score = self._score(trial, given)
        metrics = {} if score is None else {f"cv_{self._dataset.gate.metric}": score}
        self._tracker.log(run_id, metrics=metrics, tags={"trial_state": state.name.lower()})
        self._tracker.end_run(run_id, is_failed=state is TrialState.FAIL)
        trial.set_user_attr(ENDED_BY, trial.user_attrs[STARTED_BY])
        study.tell(trial, score if state is TrialState.COMPLETE else None, state=state)

    def _score(self, trial: Trial, given: Mapping[str, HyperparameterValue]) -> tuple[TrialState, float | None]:
        """Returns the state, and the mean of the folds; after worse folds than most the trial stops early."""
        of_dataset = self._dataset.hyperparameters.get(self._family.name, {})
        hyperparameters = check_hyperparameters(self._family, {**of_dataset, **given})
        scores: list[float] = []
        for fold, (train, test) in enumerate(self._folds):
            try:
                scores.append(self._score_fold(hyperparameters, train, test))
            except TrainingError as error:
                log.warning("trial %d: %s", trial.number, error)
                return TrialState.FAIL, None
            mean = float(np.mean(scores))
            if not math.isfinite(mean):
                return TrialState.FAIL, None
            trial.report(mean, fold)
            if fold + 1 < len(self._folds) and trial.should_prune():
                return TrialState.PRUNED, mean
        return TrialState.COMPLETE, float(np.mean(scores))

    def _score_fold(
        self, hyperparameters: Mapping[str, HyperparameterValue], train: pd.DataFrame, test: pd.DataFrame
    ) -> float:
        pipeline = fit_pipeline(self._dataset, train, self._family, hyperparameters, self._threads)
        inputs = features.select_inputs(self._dataset, test)
        predicted = pipeline.predict(inputs).tolist()
        classes = features.list_classes(self._dataset, train)
        found = Prediction(predicted, None)
        if classes is not None:
            found = Prediction([classes[number] for number in predicted], pipeline.predict_proba(inputs), classes)
        scores = evaluation.measure(self._dataset, test[self._dataset.target], found)
        return scores[self._dataset.gate.metric]


def _split_folds(dataset: Dataset, rows: pd.DataFrame) -> Folds:
    """Splits the rows into folds, the same ones for every trial; each fold has its share of every class."""
    is_classification = dataset.task == "classification"
    folds = (StratifiedKFold if is_classification else KFold)(FOLDS, shuffle=True, random_state=SEED)
    splits = folds.split(rows, rows[dataset.target].astype(str) if is_classification else None)
    return [(rows.iloc[train].reset_index(drop=True), rows.iloc[test].reset_index(drop=True)) for train, test in splits]


def _make_sampler(search: Search, worker: int) -> optuna.samplers.BaseSampler:
    """Makes a sampler, seeded by study and worker; the trials of a grid are queued, so any sampler fits."""
    seed = int.from_bytes(hashlib.sha256(f"{search.study}/{worker}".encode()).digest()[:4])
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=5)
    return optuna.samplers.RandomSampler(seed=seed)


def _count_ended(study: optuna.Study, worker: int) -> int:
    return sum(trial.user_attrs.get(ENDED_BY) == worker for trial in study.get_trials(deepcopy=False))


def _requeue_interrupted_trials(study: optuna.Study, worker: int) -> None:
    """Marks a killed worker's running trials as failed, and queues their hyperparameters again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(STARTED_BY) == worker:
            study.enqueue_trial(trial.params)
            study.tell(trial.number, state=TrialState.FAIL)
