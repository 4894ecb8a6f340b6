"""Files that land in the object store, taken in by the DAGs of minio_asset_example.py as Airflow runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.dags.run_dag import run_dag
from tests.servers import ObjectStore

GOOD = "sepal_length,sepal_width,petal_length,petal_width,species\n" + "".join(
    f"5.{number},3.5,1.4,0.2,0\n" for number in range(10)
)
BAD = "sepal_length,species\n5.1,0\n"


@pytest.fixture
def bucket(object_store: ObjectStore) -> Iterator[Bucket]:
    bucket = Bucket(object_store)
    yield bucket
    bucket.remove_all()


class Bucket:
    """The bucket `datasets`."""

    def __init__(self, store: ObjectStore) -> None:
        self._client = store.connect()

    def drop(self, name: str, content: str) -> None:
        self._client.put_object(Bucket="datasets", Key=f"incoming/iris/{name}", Body=content.encode())

    def list_names(self, prefix: str) -> list[str]:
        found = self._client.list_objects_v2(Bucket="datasets", Prefix=prefix).get("Contents", [])
        return [entry["Key"].rsplit("/", 1)[-1] for entry in found]

    def remove_all(self) -> None:
        for entry in self._client.list_objects_v2(Bucket="datasets").get("Contents", []):
            self._client.delete_object(Bucket="datasets", Key=entry["Key"])


def test_the_consumer_publishes_what_is_good(airflow_environment: dict[str, str], bucket: Bucket) -> None:
    bucket.drop("good.csv", GOOD)
    result = run_dag(airflow_environment, "minio_asset_example")
    assert result["state"] == "success", result["log"][-3000:]
    assert result["tasks"]["take_in.publish[0]"] == "success"
    assert bucket.list_names("incoming/") == []
    assert bucket.list_names("processed/") == ["good.csv"]


def test_a_rejected_file_is_red_after_the_good_one_was_published(
    airflow_environment: dict[str, str], bucket: Bucket
) -> None:
    bucket.drop("better.csv", GOOD.replace("5.", "6."))
    bucket.drop("bad.csv", BAD)
    result = run_dag(airflow_environment, "minio_reconcile", min_age_minutes=0)
    assert result["state"] == "failed"
    assert result["tasks"]["take_in.publish[0]"] == "success"
    assert result["tasks"]["take_in.file_away[0]"] == "failed"
    assert bucket.list_names("rejected/") == ["bad.csv"]


def test_without_a_file_nothing_is_red(airflow_environment: dict[str, str]) -> None:
    result = run_dag(airflow_environment, "minio_reconcile", min_age_minutes=0)
    assert result["state"] == "success"
    assert result["tasks"]["list_waiting[-1]"] == "success"


def test_the_producer_puts_one_file(airflow_environment: dict[str, str], bucket: Bucket) -> None:
    result = run_dag(airflow_environment, "minio_producer")
    assert result["state"] == "success", result["log"][-3000:]
    [name] = bucket.list_names("incoming/")
    assert name.startswith("produced-")
