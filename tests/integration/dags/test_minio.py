"""Files that land in the object store, taken in by the DAGs of minio_asset_example.py as Airflow runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.dags.run_dag import run_dag
from tests.servers import ObjectStore

GOOD = "sepal_length,sepal_width,petal_length,petal_width,species\n" + "".join(
    f"5.{number},3.5,1.4,0.2,0\n" for number in range(10)
)
BAD = "sepal_length,species\n5.1,0\n"


@pytest.fixture
def incoming(object_store: ObjectStore) -> Iterator[Path]:
    folder = object_store.folder / "datasets" / "incoming" / "iris"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    for file in folder.glob("*"):
        file.unlink()


def test_the_consumer_publishes_what_is_good(
    airflow_environment: dict[str, str], incoming: Path, object_store: ObjectStore
) -> None:
    (incoming / "good.csv").write_text(GOOD)
    result = run_dag(airflow_environment, "minio_asset_example")
    assert result["state"] == "success", result["log"][-3000:]
    assert result["tasks"]["take_in.publish[0]"] == "success"
    assert list(incoming.glob("*.csv")) == []
    assert [file.name for file in (object_store.folder / "datasets/processed").rglob("*.csv")] == ["good.csv"]


def test_a_rejected_file_is_red_after_the_good_one_was_published(
    airflow_environment: dict[str, str], incoming: Path, object_store: ObjectStore
) -> None:
    (incoming / "better.csv").write_text(GOOD.replace("5.", "6."))
    (incoming / "bad.csv").write_text(BAD)
    result = run_dag(airflow_environment, "minio_reconcile", min_age_minutes=0)
    assert result["state"] == "failed"
    assert result["tasks"]["take_in.publish[0]"] == "success"
    assert result["tasks"]["take_in.file_away[0]"] == "failed"
    assert [file.name for file in (object_store.folder / "datasets/rejected").rglob("*.csv")] == ["bad.csv"]


def test_without_a_file_nothing_is_red(airflow_environment: dict[str, str]) -> None:
    result = run_dag(airflow_environment, "minio_reconcile", min_age_minutes=0)
    assert result["state"] == "success"
    assert result["tasks"]["list_waiting[-1]"] == "success"


def test_the_producer_puts_one_file(airflow_environment: dict[str, str], incoming: Path) -> None:
    result = run_dag(airflow_environment, "minio_producer")
    assert result["state"] == "success", result["log"][-3000:]
    assert len(list(incoming.glob("produced-*.csv"))) == 1
