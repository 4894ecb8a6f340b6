"""What a person may name in a form, and what an open refuses although its address was good."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ml_code.addresses import SAMPLES, Addresses, NamedFiles, make_addresses
from ml_code.data.source import load_source
from ml_code.errors import AddressError, StorageError
from ml_code.settings import Settings
from ml_code.storage import Storage
from ml_code.workspace import Workspace
from tests.unit.ml_code.passengers import make_dataset

SECRET = "POSTGRES_PASSWORD=hunter22"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The one folder, with a file, beside a secret."""
    (tmp_path / "secret.csv").write_text(SECRET)
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "rows.csv").write_text("a\n1\n")
    return inside


@pytest.fixture
def files(folder: Path, settings: Settings) -> NamedFiles:
    addresses = Addresses("s3://datasets", ("s3://datasets", "s3://lake/new"), (folder,))
    return NamedFiles(Storage(settings), addresses)


@pytest.mark.parametrize(
    ("typed", "uri"),
    [
        ("incoming/iris/june.csv", "s3://datasets/incoming/iris/june.csv"),
        ("새 파일 100%.csv", "s3://datasets/새 파일 100%.csv"),
        ("incoming/", "s3://datasets/incoming/"),
        ("s3://datasets/a.parquet", "s3://datasets/a.parquet"),
        ("s3://lake/new/a.csv", "s3://lake/new/a.csv"),
    ],
)
def test_a_key_or_an_object_of_a_named_place_is_resolved_and_stays_so(files: NamedFiles, typed: str, uri: str) -> None:
    assert files.resolve(typed) == uri
    assert files.resolve(uri) == uri


@pytest.mark.parametrize(
    "typed",
    [
        "/proc/1/environ",
        "/proc/self/environ",
        "/dev/stdin",
        "/etc/passwd",
        "/",
        "//host/share/a.csv",
        "../secret.csv",
        "incoming/../../mlflow/a.csv",
        "incoming/%2e%2e/%2E%2E/mlflow/a.csv",
        "incoming/%252e%252e/a.csv",
        "..\\secret.csv",
        "a//b.csv",
        "a\0.csv",
        "a%00.csv",
        "a\nb.csv",
        "a\u2028b.csv",
        "x" * 1025,
        "한" * 400,
        "\ud800.csv",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "S3://datasets/a.csv",
        "s3://mlflow/1/model.onnx",
        "s3://datasets-of-others/a.csv",
        "s3://lake/newer/a.csv",
        "s3://lake",
        "s3:///a.csv",
        "s3://datasets/../mlflow/a.csv",
        "",
    ],
)
def test_another_address_is_refused_in_one_short_line(files: NamedFiles, typed: str) -> None:
    for read in (files.resolve, files.read_bytes, files.list_objects):
        with pytest.raises(AddressError, match="MLOPS_INPUT_URIS") as raised:
            read(typed)
        assert len(str(raised.value)) < 700
        assert str(raised.value).isprintable()


def test_a_file_below_the_folder_is_read(files: NamedFiles, folder: Path) -> None:
    assert files.read_bytes(str(folder / "deep" / "rows.csv")) == b"a\n1\n"
    assert [found.uri for found in files.list_objects(str(folder))] == [str(folder / "deep" / "rows.csv")]


def test_a_folder_that_is_a_link_itself_is_no_fault(settings: Settings, folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    files = NamedFiles(Storage(settings), Addresses("s3://datasets", (), (link,)))
    for way in (link, folder):
        assert files.read_bytes(str(way / "deep" / "rows.csv")) == b"a\n1\n"


@pytest.mark.parametrize("target", ["../secret.csv", "/proc/self/environ", "deep/rows.csv"])
def test_a_link_to_a_file_is_refused_wherever_it_leads(files: NamedFiles, folder: Path, target: str) -> None:
    (folder / "link.csv").symlink_to(target)
    with pytest.raises(AddressError, match="found a link"):
        files.read_bytes(str(folder / "link.csv"))
    assert str(folder / "link.csv") not in [found.uri for found in files.list_objects(str(folder))]


def test_a_link_to_a_folder_is_neither_passed_nor_listed(files: NamedFiles, folder: Path, tmp_path: Path) -> None:
    (folder / "up").symlink_to(tmp_path)
    for read in (files.read_bytes, files.list_objects):
        with pytest.raises(AddressError, match="found a link"):
            read(str(folder / "up" / "secret.csv"))
    with pytest.raises(AddressError, match="found a link"):
        files.list_objects(str(folder / "up"))


def test_a_pipe_a_socket_and_a_folder_are_refused_without_waiting(files: NamedFiles, folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
        for name, kind in (("pipe.csv", "a pipe"), ("s", "a socket"), ("deep", "a folder")):
            with pytest.raises(AddressError, match=f"found {kind}"):
                files.read_bytes(str(folder / name))


class SwappingOs:
    """The module `os`, but after it has looked at one name, a racing process puts a link in its place."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path, self._target = path, target

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def stat(self, name: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        if name == self._path.name:
            self._path.rename(self._path.with_name("aside"))
            self._path.symlink_to(self._target)
        return found


@pytest.mark.parametrize("swapped", ["deep/rows.csv", "deep"])
def test_a_link_that_is_swapped_in_after_the_check_is_not_followed(
    files: NamedFiles, folder: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "rows.csv").write_text(SECRET)
    target = outside / "rows.csv" if swapped.endswith(".csv") else outside
    monkeypatch.setattr("ml_code.addresses.os", SwappingOs(folder / swapped, target))
    with pytest.raises(StorageError):
        files.read_bytes(str(folder / "deep" / "rows.csv"))
    assert (folder / swapped).is_symlink()


def test_the_places_are_those_of_the_settings_the_samples_and_the_catalog(settings: Settings, tmp_path: Path) -> None:
    further = {"input_uris": "s3://sales,s3://lake/new/", "datasets_dir": tmp_path / "mine"}
    addresses = make_addresses(settings.model_copy(update=further))
    assert addresses.home == str(tmp_path / "datasets")
    assert addresses.places == ("s3://predictions", "s3://sales", "s3://lake/new")
    assert addresses.folders == (tmp_path / "datasets", tmp_path / "mine", SAMPLES, tmp_path)


@pytest.mark.parametrize("uris", ["sales", "/data", "s3://", "s3://a b", "file:///etc", "s3://a;s3://b"])
def test_a_further_place_is_a_bucket_or_a_prefix(settings: Settings, uris: str) -> None:
    with pytest.raises(ValidationError):
        Settings(**settings.model_dump() | {"input_uris": uris})


@pytest.mark.parametrize("path", ["../secret.csv", "/etc/passwd", "/proc/self/environ", "link.csv"])
def test_a_catalog_file_names_no_file_beyond_the_folders(workspace: Workspace, tmp_path: Path, path: str) -> None:
    (tmp_path.parent / "secret.csv").write_text(SECRET)
    (tmp_path / "link.csv").symlink_to("../secret.csv")
    with pytest.raises(AddressError) as raised:
        load_source(workspace, make_dataset(source={"kind": "file", "path": path}))
    assert "hunter22" not in str(raised.value)


@pytest.mark.parametrize("key", ["../mlflow/a.csv", "/etc/passwd", "s3://mlflow/a.csv"])
def test_a_catalog_file_names_no_object_beyond_the_buckets(workspace: Workspace, key: str) -> None:
    with pytest.raises(AddressError):
        load_source(workspace, make_dataset(source={"kind": "s3", "key": key}))
