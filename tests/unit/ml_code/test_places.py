from __future__ import annotations

import pytest

from ml_code.places import Places, name_dataset

SHA256 = "ab" * 32


@pytest.mark.parametrize("datasets_uri", ["s3://datasets", "s3://datasets/"])
def test_each_file_has_one_place(datasets_uri: str) -> None:
    places = Places(datasets_uri, "s3://predictions/")
    dropped = "incoming/iris/2026/june.csv"
    assert [
        places.locate_object("own/rows.csv"),
        places.locate_incoming("iris", "june.csv"),
        places.locate_filed(dropped, SHA256, is_rejected=False),
        places.locate_filed(dropped, SHA256, is_rejected=True),
        places.locate_source("titanic"),
        places.locate_clean("iris"),
        places.locate_quarantine("employees", SHA256),
        places.locate_snapshots("iris"),
        places.locate_weather("raw/issue.json"),
        places.locate_batch("iris", "scheduled__2026-03-01T09:30:00+00:00"),
        places.locate_batch_model("iris", SHA256),
    ] == [
        "s3://datasets/own/rows.csv",
        "s3://datasets/incoming/iris/june.csv",
        "s3://datasets/processed/iris/abababababababab/2026/june.csv",
        "s3://datasets/rejected/iris/abababababababab/2026/june.csv",
        "s3://datasets/sources/titanic.csv",
        "s3://datasets/clean/iris",
        "s3://datasets/quarantine/employees/abababababababab.csv",
        "s3://datasets/snapshots/iris",
        "s3://datasets/weather/raw/issue.json",
        "s3://predictions/iris/scheduled__2026-03-01T09_30_00_00_00",
        f"s3://predictions/iris/files/{SHA256}.onnx",
    ]


def test_a_key_leads_to_its_uri_and_back() -> None:
    places = Places("s3://datasets", "s3://predictions")
    assert places.get_key(places.locate_object("incoming/iris/june.csv")) == "incoming/iris/june.csv"


def test_the_first_folder_of_a_dropped_file_names_its_dataset() -> None:
    assert [name_dataset(key) for key in ("incoming/iris/2026/june.csv", "incoming/june.csv", "incoming/")] == [
        "iris",
        "june.csv",
        "",
    ]


@pytest.mark.parametrize(("batch_id", "name"), [("..", "_"), ("../log", "__log"), ("files", "_files"), ("a.b", "a.b")])
def test_a_batch_has_a_folder_of_its_own_whatever_its_run_is_called(batch_id: str, name: str) -> None:
    assert Places("s3://datasets", "s3://predictions").locate_batch("iris", batch_id) == f"s3://predictions/iris/{name}"
