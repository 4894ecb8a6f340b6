"""Addresses that a person types: which objects and files they may name, and how a worker opens them.

A worker holds secrets, so a form, an option or a catalog file may name only what lies in the places of the settings.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ml_code.datasets import CATALOG
from ml_code.errors import AddressError, StorageError
from ml_code.storage import SCHEME, Storage, StoredObject

if TYPE_CHECKING:
    from ml_code.settings import Settings

SAMPLES = Path(__file__).parent / "samples"

LONGEST_BYTES = 1024
"""Longest key of S3."""

SHOWN = 100
"""Characters of a refused address in its error."""

KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
"""Their entries are regular files too, and hold the environment of each process."""

UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories that break a line of a log, or a path."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Addresses:
    """The places whose objects and files a person may name.

    >>> Addresses("s3://datasets", ("s3://datasets",), ()).resolve("new/june.csv")
    's3://datasets/new/june.csv'
    """

    home: str
    """What a plain key is relative to."""

    places: tuple[str, ...]
    """Buckets, and prefixes of keys in them."""

    folders: tuple[Path, ...]

    def resolve(self, typed: str) -> str:
        """The URI or path of a typed address; the same for one that has been resolved.

        Raises:
            AddressError: it is malformed, or outside of the places.
        """
        if fault := _find_fault(typed):
            raise self._refuse(typed, fault)
        uri = typed
        if not typed.startswith((SCHEME, "/", f"{self.home}/")):
            uri = f"{self.home}/{typed}"
        if not uri.startswith(SCHEME):
            self.split(uri)
        elif not any(_is_below(uri, place) for place in self.places):
            raise self._refuse(typed, "another bucket or prefix")
        return uri

    def split(self, path: str) -> tuple[Path, tuple[str, ...]]:
        """The folder that a path is below, and the names of the path below it.

        Raises:
            AddressError: it is below none.
        """
        if any(_is_below(path, folder) for folder in KERNEL_FOLDERS):
            raise self._refuse(path, "a path of the kernel")
        whole = Path(path).absolute()
        for folder in self.folders if ".." not in whole.parts else ():
            for start in (folder.absolute(), folder.resolve()):
                if whole.is_relative_to(start):
                    return folder, whole.relative_to(start).parts
        raise self._refuse(path, "a path outside of the folders")

    def open_file(self, path: str) -> BufferedReader:
        """Opens a regular file; a link that another process puts on its way is not followed.

        Raises:
            AddressError: the path is outside of the folders, holds a link, or names no regular file.
            OSError: there is no such file, or it is not readable.
        """
        folder, names = self.split(path)
        descriptor = self._open_parent(folder, names, path)
        try:
            kind = os.stat(names[-1], dir_fd=descriptor, follow_symlinks=False).st_mode if names else stat.S_IFDIR
            # Before it is opened, because opening a device or a pipe may have an effect.
            if not stat.S_ISREG(kind):
                raise self._refuse(path, name_kind(kind))
            file = os.fdopen(os.open(names[-1], _FILE, dir_fd=descriptor), "rb")
        finally:
            os.close(descriptor)
        if not stat.S_ISREG(kind := os.fstat(file.fileno()).st_mode):
            file.close()
            raise self._refuse(path, name_kind(kind))
        return file

    def refuse_links(self, path: str) -> None:
        """Refuses a path with a link below its folder; its last name may be the start of one.

        Raises:
            AddressError: a part of it is a link, or the path is outside of the folders.
        """
        folder, names = self.split(path)
        for count in range(1, len(names) + 1):
            if folder.joinpath(*names[:count]).is_symlink():
                raise self._refuse(path, "a link")

    def _open_parent(self, folder: Path, names: tuple[str, ...], path: str) -> int:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in names[:-1]:
            try:
                if stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    raise self._refuse(path, "a link")
                inner = os.open(name, _FOLDER, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
        return descriptor

    def _refuse(self, address: str, found: str) -> AddressError:
        shown = repr(address[:SHOWN]) + ("..." if len(address) > SHOWN else "")
        places = ", ".join([*self.places, *map(str, self.folders)])
        return AddressError(
            f"address {shown}: found {found}, expected a key of {self.home}, or a regular file or object below one of "
            f"{places}; upload the file as a key of {self.home}, or add its bucket to MLOPS_INPUT_URIS"
        )


class NamedFiles:
    """The files and objects that a person may name, for reading; each access checks its address again.

    >>> with workspace.named_files.open("s3://datasets/new/june.csv") as stream:
    """

    def __init__(self, storage: Storage, addresses: Addresses) -> None:
        self._storage = storage
        self._addresses = addresses

    def resolve(self, typed: str) -> str:
        """The URI or path of a typed address.

        Raises:
            AddressError: it is malformed, or outside of the places.
        """
        return self._addresses.resolve(typed)

    def read_bytes(self, uri: str) -> bytes:
        """The whole file or object.

        Raises:
            StorageError: a person may not name it, or there is no such file.
        """
        with self.open(uri) as stream:
            return stream.read()

    @contextmanager
    def open(self, uri: str) -> Iterator[BufferedReader]:
        """Opens a file or object for reading from its start.

        Raises:
            StorageError: a person may not name it, or there is no such file.
        """
        uri = self.resolve(uri)
        opened = self._storage.open(uri) if uri.startswith(SCHEME) else self._open_file(uri)
        with opened as stream:
            yield stream

    @contextmanager
    def open_parts(self, uri: str) -> Iterator[RawIOBase | BufferedReader]:
        """Opens a file or object for reading some of its parts.

        Raises:
            StorageError: a person may not name it, or there is no such file.
        """
        uri = self.resolve(uri)
        opened = self._storage.open_parts(uri) if uri.startswith(SCHEME) else self._open_file(uri)
        with opened as stream:
            yield stream

    def list_objects(self, prefix: str) -> list[StoredObject]:
        """Every file or object whose address starts with the prefix, without links.

        Raises:
            StorageError: a person may not name it, or the store refuses.
        """
        prefix = self.resolve(prefix)
        if prefix.startswith(SCHEME):
            return self._storage.list_objects(prefix)
        self._addresses.refuse_links(prefix)
        return [found for found in self._storage.list_objects(prefix) if not Path(found.uri).is_symlink()]

    @contextmanager
    def _open_file(self, path: str) -> Iterator[BufferedReader]:
        try:
            with self._addresses.open_file(path) as file:
                yield file
        except OSError as error:
            raise StorageError(
                f"file {path}: found {error.strerror or error}, expected a file that can be read; check the path"
            ) from error


def make_addresses(settings: Settings) -> Addresses:
    """The places of the settings, the samples that ship, and the folder of the catalog."""
    uris = [uri.rstrip("/") for uri in (settings.datasets_uri, settings.predictions_uri, *settings.list_input_uris())]
    own = [Path(uri) for uri in uris if not uri.startswith(SCHEME)]
    own += [settings.datasets_dir] if settings.datasets_dir else []
    places = tuple(uri for uri in uris if uri.startswith(SCHEME))
    return Addresses(uris[0], places, (*own, SAMPLES, settings.catalog_dir or CATALOG))


def name_kind(mode: int) -> str:
    """What a mode of the file system is, for a person."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _find_fault(typed: str) -> str | None:
    """What makes an address malformed; None if it is well-formed."""
    if not typed or len(typed.encode(errors="surrogatepass")) > LONGEST_BYTES:
        return f"{len(typed)} characters"
    if any(unicodedata.category(letter) in UNPRINTABLE for letter in typed):
        return "a control character"
    scheme = typed.partition("://")[0]
    if scheme != typed and not typed.startswith(SCHEME):
        return "another scheme than s3"
    # A server behind the store may decode a key once more, and Windows separates by backslashes.
    for text in (typed, unquote(typed), unquote(unquote(typed))):
        names = text.removeprefix(SCHEME).removeprefix("/").removesuffix("/").replace("\\", "/").split("/")
        if any(name in {"", ".", ".."} or "\0" in name for name in names):
            return "an empty name, . or .. between two slashes"
    return None


def _is_below(address: str, place: str) -> bool:
    """Whether an address is a place or below it, by whole names."""
    return address == place or address.startswith(f"{place.rstrip('/')}/")
