"""A table from the internet, and the three ways to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ml_code.data.downloads import download, refuse_target
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


class Redirecting(BaseHTTPRequestHandler):
    """Redirects `/` to the target, has rows at `/rows`, goes round at `/again`, and sends a byte now and then."""

    target = ""

    def do_GET(self) -> None:
        if self.path == "/rows":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ROWS)
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(30):
                    self.wfile.write(b"1")
                    time.sleep(0.1)
        else:
            self.send_response(302)
            self.send_header("Location", self.target)
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its parent's
        pass


@pytest.fixture
def redirecting() -> Iterator[Callable[[str], str]]:
    """Gives the address of a server that redirects to a target."""
    handler = type("Handler", (Redirecting,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def lead_to(target: str) -> str:
        handler.target = target
        return f"http://127.0.0.1:{server.server_port}/"

    try:
        yield lead_to
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


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://example.com/a.csv",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/a.csv",
        "http://127.0.0.1:1/a.csv",
        "http://[::1]:1/a.csv",
        "http://[::ffff:127.0.0.1]:1/a.csv",
        "http://localhost:1/a.csv",
        "http://mlflow:5000/a.csv",
        "//mlflow:5000/a.csv",
    ],
)
def test_a_redirect_does_not_lead_into_the_house(redirecting: Callable[[str], str], target: str) -> None:
    with pytest.raises(SourceError, match="found a redirect to"):
        download(redirecting(target))


@pytest.mark.parametrize(
    "host",
    [
        "64:ff9b::a00:1",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1::808:808",
        "::ffff:0:7f00:1",
        "2002:a00:1::1",
        "::10.0.0.1",
        "fec0::1",
        "ff02::1",
        "::",
    ],
)
def test_a_redirect_does_not_lead_into_the_house_by_a_form_of_ipv6(host: str) -> None:
    with pytest.raises(SourceError, match="found a redirect to an address of the local network"):
        refuse_target("http://example.com/a", f"http://[{host}]/a")
    refuse_target("http://example.com/a", "http://[64:ff9b::808:808]/a")
    refuse_target("http://example.com/a", "http://[::ffff:0:808:808]/a")
    refuse_target("http://example.com/a", "http://[2606:4700::1111]/a")


def test_a_name_that_resolves_to_a_private_address_is_refused_when_it_connects(
    redirecting: Callable[[str], str], website: str
) -> None:
    port = website.rpartition(":")[2]
    # 2130706433 and 127.1 are 127.0.0.1 for the C library, and no address for Python.
    with pytest.raises(SourceError, match="found a redirect to an address of the local network"):
        download(redirecting(f"http://127.1:{port}/passengers.csv"))


def test_a_redirect_of_the_same_server_is_followed_but_not_forever(redirecting: Callable[[str], str]) -> None:
    assert download(redirecting("/rows")) == ROWS
    with pytest.raises(SourceError, match="found more than 5 redirects"):
        download(redirecting("/again"))


def test_https_does_not_become_http() -> None:
    with pytest.raises(SourceError, match="found a redirect to the scheme 'http'"):
        refuse_target("https://example.com/a", "http://example.org/a")
    refuse_target("http://example.com/a", "https://example.org/a")


def test_a_file_that_is_too_large_or_too_slow_is_given_up(website: str, redirecting: Callable[[str], str]) -> None:
    assert download(f"{website}/passengers.csv", largest_bytes=len(ROWS)) == ROWS
    with pytest.raises(SourceError, match="found more than"):
        download(f"{website}/passengers.csv", largest_bytes=len(ROWS) - 1)
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"found no whole file within 0\.5 s"):
        download(redirecting("/drip"), seconds=0.5)
    assert time.monotonic() - begun < 5


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


def test_the_datasets_folder_may_be_named_from_the_present_one(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passengers.csv").write_bytes(ROWS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    local = workspace.settings.model_copy(update={"datasets_dir": Path("..")})
    assert load_source(open_workspace(local), from_url("http://127.0.0.1:1/passengers.csv")).content == ROWS


def test_without_any_of_the_three_ways_the_error_names_them_all(workspace: Workspace) -> None:
    with pytest.raises(SourceError) as raised:
        load_source(workspace, from_url("http://127.0.0.1:1/passengers.csv"))
    for way in ("make http://127.0.0.1:1/passengers.csv reachable", "MLOPS_DATASETS_DIR", "sources/passengers.csv"):
        assert way in str(raised.value)
