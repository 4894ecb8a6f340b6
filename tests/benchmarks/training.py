"""What a training takes over the bare fit: export, parity, evaluation, plots, gate and logging, on a real MLflow.

Usage: TEST_TABLES=FOLDER python -m tests.benchmarks.training
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from pydantic import SecretStr

from ml_code.data import snapshots
from ml_code.families import FAMILIES, check_hyperparameters, find_family
from ml_code.gate import judging
from ml_code.settings import Settings
from ml_code.training import run
from ml_code.training.fitting import fit_pipeline
from ml_code.workspace import Workspace, open_workspace
from tests.full_tables import read_table
from tests.servers import MlflowServer, ObjectStore, run_mlflow, run_object_store, run_postgres

TABLE = "housing"
THREADS = 2


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        run_postgres() as postgres,
        run_object_store() as store,
        run_mlflow(postgres, store) as mlflow,
    ):
        workspace = open_workspace(make_settings(store, mlflow))
        snapshot_uri = snapshots.prepare(workspace, TABLE)
        dataset, split = read_table(TABLE, Path(folder))
        print(f"{len(split.train):,} rows of {TABLE} to train on, {len(split.holdout):,} held out\n")
        print("| family | bare fit | whole training | added |")
        print("|---|---|---|---|")
        for name in FAMILIES:
            family = find_family(*FAMILIES[name], dataset.task)
            figures = check_hyperparameters(family, dataset.hyperparameters.get(name))
            started = time.perf_counter()
            fit_pipeline(dataset, split.train, family, figures, threads=THREADS)
            bare = time.perf_counter() - started
            whole = time_training(snapshot_uri, name, workspace)
            print(f"| {name} | {bare:.1f} s | {whole:.1f} s | {whole - bare:.1f} s |", flush=True)


def make_settings(store: ObjectStore, mlflow: MlflowServer) -> Settings:
    return Settings(
        mlflow_url=mlflow.url,
        mlflow_username="trainer",
        mlflow_password=SecretStr(mlflow.passwords["trainer"]),
        s3_endpoint_url=store.url,
        s3_access_key=store.access_key,
        s3_secret_key=SecretStr(store.secret_key),
        datasets_dir=Path(os.environ.get("TEST_TABLES", "/nowhere")),
        training_threads=THREADS,
    )


def time_training(snapshot_uri: str, family: str, workspace: Workspace) -> float:
    """Seconds from the rows in the store to a registered version."""
    model_type, estimator = FAMILIES[family]
    started = time.perf_counter()
    run_id = run.train(workspace, TABLE, snapshot_uri, model_type, estimator)
    judging.evaluate(workspace, run_id)
    judging.decide(workspace, run_id, force=True)
    judging.register(workspace, run_id)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
