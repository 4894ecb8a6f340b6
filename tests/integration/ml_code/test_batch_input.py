"""Parts of Parquet files read from an object store, by ranges."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from pydantic import SecretStr

from ml_code.batch.inputs import count_rows_of_groups, read_batches
from ml_code.errors import SourceError, StorageError
from ml_code.model_file.spec import Feature
from ml_code.workspace import Workspace, open_workspace
from tests.offline_settings import make_offline_settings
from tests.servers import ObjectStore

URI = "s3://datasets/parts/rows.parquet"
FEATURES = [Feature(name="number", kind="numeric"), Feature(name="text", kind="categorical")]


@pytest.fixture(scope="module")
def workspace(object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    settings = make_offline_settings(
        tmp_path_factory.mktemp("unused"),
        s3_endpoint_url=object_store.url,
        s3_access_key=object_store.access_key,
        s3_secret_key=SecretStr(object_store.secret_key),
    )
    rows = pd.DataFrame({"number": range(5000), "text": [str(number % 7) for number in range(5000)]})
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False, row_group_size=1000)
    workspace = open_workspace(settings)
    workspace.storage.write_bytes(URI, buffer.getvalue())
    return workspace


def test_some_row_groups_are_read_without_the_others(workspace: Workspace) -> None:
    assert count_rows_of_groups(workspace.storage, URI) == [1000] * 5
    batches = list(read_batches(workspace.storage, URI, FEATURES, row_groups=[2, 3]))
    assert [batch.first for batch in batches] == [2000, 3000]
    assert [row for batch in batches for row in batch.ids.to_pylist()] == list(range(2000, 4000))
    assert batches[0].columns.column("text").to_pylist()[:2] == ["5", "6"]


def test_some_rows_are_read_by_number(workspace: Workspace) -> None:
    [batch] = read_batches(workspace.storage, URI, FEATURES, rows=[5, 4999])
    assert batch.columns.to_pydict() == {"number": [5, 4999], "text": ["5", "1"]}
    assert batch.ids.to_pylist() == [5, 4999]


def test_an_object_that_is_gone_changed_or_no_parquet_is_said(workspace: Workspace) -> None:
    with pytest.raises(StorageError, match="Not Found"):
        count_rows_of_groups(workspace.storage, "s3://datasets/parts/none.parquet")
    workspace.storage.write_bytes("s3://datasets/parts/text.parquet", b"nothing of the kind")
    with pytest.raises(SourceError, match="expected a Parquet file"):
        count_rows_of_groups(workspace.storage, "s3://datasets/parts/text.parquet")


def test_an_object_that_is_overwritten_is_not_read_by_halves(workspace: Workspace) -> None:
    uri = "s3://datasets/parts/changing.parquet"
    workspace.storage.write_bytes(uri, b"one content")
    with pytest.raises(StorageError, match="found a change while it was read"):
        read_after_a_change(workspace, uri)


def read_after_a_change(workspace: Workspace, uri: str) -> bytes | None:
    with workspace.storage.open_parts(uri) as stream:
        workspace.storage.write_bytes(uri, b"another content altogether")
        return stream.read(4)
