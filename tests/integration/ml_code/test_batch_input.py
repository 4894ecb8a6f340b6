"""Parts of Parquet files read from an object store, by ranges."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from pydantic import SecretStr

from ml_code.batch.inputs import INPUT_ID, count_rows_of_groups, read_batches
from ml_code.errors import SourceError, StorageError
from ml_code.model_file.spec import Feature
from ml_code.settings import Settings
from ml_code.storage import Storage
from tests.offline_settings import make_offline_settings
from tests.servers import ObjectStore

URI = "s3://datasets/parts/rows.parquet"
FEATURES = [Feature(name="number", kind="numeric"), Feature(name="text", kind="categorical")]


@pytest.fixture(scope="module")
def settings(object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_offline_settings(
        tmp_path_factory.mktemp("unused"),
        s3_endpoint_url=object_store.url,
        s3_access_key=object_store.access_key,
        s3_secret_key=SecretStr(object_store.secret_key),
    )
    rows = pd.DataFrame({"number": range(5000), "text": [str(number % 7) for number in range(5000)]})
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False, row_group_size=1000)
    Storage(settings).write_bytes(URI, buffer.getvalue())
    return settings


def test_some_row_groups_are_read_without_the_others(settings: Settings) -> None:
    assert count_rows_of_groups(URI, settings) == [1000] * 5
    batches = list(read_batches(URI, FEATURES, row_groups=[2, 3], settings=settings))
    assert [first for first, _ in batches] == [2000, 3000]
    assert [row for _, batch in batches for row in batch.column(INPUT_ID).to_pylist()] == list(range(2000, 4000))
    assert batches[0][1].column("text").to_pylist()[:2] == ["5", "6"]


def test_some_rows_are_read_by_number(settings: Settings) -> None:
    [(_, batch)] = read_batches(URI, FEATURES, rows=[5, 4999], settings=settings)
    assert batch.to_pydict() == {"number": [5, 4999], "text": ["5", "1"], INPUT_ID: [5, 4999]}


def test_an_object_that_is_gone_changed_or_no_parquet_is_said(settings: Settings) -> None:
    with pytest.raises(StorageError, match="Not Found"):
        count_rows_of_groups("s3://datasets/parts/none.parquet", settings)
    Storage(settings).write_bytes("s3://datasets/parts/text.parquet", b"nothing of the kind")
    with pytest.raises(SourceError, match="expected a Parquet file"):
        count_rows_of_groups("s3://datasets/parts/text.parquet", settings)


def test_an_object_that_is_written_anew_is_not_read_by_halves(settings: Settings) -> None:
    uri = "s3://datasets/parts/changing.parquet"
    Storage(settings).write_bytes(uri, b"one content")
    with pytest.raises(StorageError, match="written anew while it was read"):
        read_after_a_change(settings, uri)


def read_after_a_change(settings: Settings, uri: str) -> bytes | None:
    with Storage(settings).open_parts(uri) as stream:
        Storage(settings).write_bytes(uri, b"another content altogether")
        return stream.read(4)
