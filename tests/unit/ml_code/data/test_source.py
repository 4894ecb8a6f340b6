"""A table from the internet, and the three ways to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ml_code.data.source import load_source
from ml_code.datasets import Dataset
from ml_code.errors import SourceError
from ml_code.workspace import Workspace, open_workspace
from tests.unit.ml_code.passengers import make_dataset

ROWS = b"age,fare,town,sex,outcome\n30,8,S,male,dead\n"


@pytest.fixture
def website(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has `passengers.csv`."""
    folder = tmp_path / "website"
    folder.mkdir()
    (folder / "passengers.csv").write_bytes(ROWS)
    (folder / "portal.html").write_bytes(b"<!doctype html>\n<html><body>Please sign in</body></html>\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def from_url(url: str) -> Dataset:
    return make_dataset(source={"kind": "url", "url": url})


def test_a_table_from_the_internet_is_kept_and_read_again_once_its_address_is_gone(
    website: str, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_source(workspace, from_url(f"{website}/passengers.csv")).content == ROWS
    kept = load_source(workspace, from_url(f"{website}/gone.csv"))
    assert kept.content == ROWS
    assert kept.origin.endswith("sources/passengers.csv")
    assert "404" in caplog.text


def test_a_web_page_does_not_replace_the_kept_copy(website: str, workspace: Workspace) -> None:
    with pytest.raises(SourceError, match=r"found a web page, .* or upload it as"):
        load_source(workspace, from_url(f"{website}/portal.html"))
    assert load_source(workspace, from_url(f"{website}/passengers.csv")).content == ROWS
    assert load_source(workspace, from_url(f"{website}/portal.html")).content == ROWS
    assert load_source(workspace, from_url(f"{website}/gone.csv")).content == ROWS


def test_a_file_in_the_datasets_folder_goes_before_the_address(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "passengers.csv").write_bytes(ROWS)
    local = workspace.settings.model_copy(update={"datasets_dir": tmp_path})
    assert load_source(open_workspace(local), from_url("http://127.0.0.1:1/passengers.csv")).content == ROWS


def test_without_any_of_the_three_ways_the_error_names_them_all(workspace: Workspace) -> None:
    with pytest.raises(SourceError) as raised:
        load_source(workspace, from_url("http://127.0.0.1:1/passengers.csv"))
    for way in ("make http://127.0.0.1:1/passengers.csv reachable", "MLOPS_DATASETS_DIR", "sources/passengers.csv"):
        assert way in str(raised.value)
