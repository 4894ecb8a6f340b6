"""Downloads of a catalog's sources: with a deadline, a size, and no redirect into the house."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from ml_code.errors import SourceError

DOWNLOAD_SECONDS = 600.0
"""Longest download of a whole file, however steadily its bytes come."""

SILENCE_SECONDS = (10.0, 60.0)
"""Longest wait for a connection, and for the next byte."""

LARGEST_BYTES = 500_000_000
"""The limit of a file that is checked in memory."""

MOST_REDIRECTS = 5

PIECE_BYTES = 256 * 1024

HOLDING_IPV4 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")))
"""Addresses whose last 32 bits are one of IPv4 behind a translator, and the older form of the same."""

LOCAL_TRANSLATOR = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Addresses of IPv4 behind a translator of the own network (RFC 8215), whatever their form."""

PORTS = {"http": 80, "https": 443}


def download(url: str, seconds: float = DOWNLOAD_SECONDS, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """Downloads a file by http or https.

    The author of a catalog file may name any host, also one of the house. A redirect is another's choice: it leads to
    the same server or to a public address, and not from https to http.

    Args:
        url: of the file.
        seconds: longest time of all.
        largest_bytes: largest size, once unpacked.

    Raises:
        SourceError: it is too large or too slow, or is redirected where it may not lead.
        requests.RequestException: the server does not answer with the file.
    """
    deadline = time.monotonic() + seconds
    return call_within(seconds, url, lambda: _fetch(url, deadline, largest_bytes))


def call_within[Found](seconds: float, subject: str, function: Callable[[], Found]) -> Found:
    """Calls a function in a thread, which is left behind after the time: a socket's time-out counts from each byte.

    Raises:
        SourceError: it has not returned in time.
    """
    found: list[Found] = []
    errors: list[Exception] = []

    def call() -> None:
        try:
            found.append(function())
        except Exception as error:  # The edge of this thread.
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True, name="download")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not found:
        raise SourceError(f"{subject}: found no whole file within {seconds:g} s, expected one; try again later")
    return found[0]


def _fetch(url: str, deadline: float, largest_bytes: int) -> bytes:
    at = url
    with requests.Session() as session:
        for _ in range(MOST_REDIRECTS + 1):
            with session.get(at, timeout=SILENCE_SECONDS, stream=True, allow_redirects=False) as answer:
                target = session.get_redirect_target(answer)
                if target is None:
                    answer.raise_for_status()
                    return _read(answer, url, deadline, largest_bytes)
            target = urljoin(at, target)
            if not _is_same_server(urlsplit(at), urlsplit(target)):
                refuse_target(at, target)
                session.mount("http://", _PublicAdapter())
                session.mount("https://", _PublicAdapter())
            at = target
    raise SourceError(f"{url}: found more than {MOST_REDIRECTS} redirects, expected a file; correct the address")


def _read(answer: requests.Response, url: str, deadline: float, largest_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in answer.iter_content(PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > largest_bytes:
            raise SourceError(
                f"{url}: found more than {largest_bytes / 1e6:g} MB, expected at most that, which fits the memory; "
                "name a smaller file"
            )
        if time.monotonic() > deadline:
            raise SourceError(
                f"{url}: found no end of the file in time, expected a faster server; download it yourself"
            )
    return b"".join(pieces)


def refuse_target(source: str, target: str) -> None:
    """Refuses a redirect to another scheme, from https to http, or to a host that is not public by its name.

    Raises:
        SourceError: it is such a redirect.
    """
    before, after = urlsplit(source), urlsplit(target)
    if after.scheme not in PORTS or (before.scheme == "https" and after.scheme == "http"):
        raise _refuse(f"{before.scheme}://{before.netloc}", f"the scheme {after.scheme[:20]!r}")
    host = (after.hostname or "").rstrip(".")
    if "." not in host.strip(".") and ":" not in host:  # localhost, and the names of containers
        raise _refuse(f"{before.scheme}://{before.netloc}", "a host of the local network")
    _refuse_private(host, f"{before.scheme}://{before.netloc}")


def _is_same_server(one: SplitResult, other: SplitResult) -> bool:
    ports = [part.port or PORTS.get(part.scheme) for part in (one, other)]
    is_upgrade = (one.scheme, other.scheme, *ports) == ("http", "https", 80, 443)
    return one.hostname == other.hostname and (is_upgrade or (one.scheme == other.scheme and ports[0] == ports[1]))


def _refuse_private(host: str, source: str) -> None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    if not _is_public(address):
        raise _refuse(source, "an address of the local network")


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and any(address in network for network in HOLDING_IPV4):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return _is_public(inner)
        if address.is_site_local or address in LOCAL_TRANSLATOR:
            return False
    return address.is_global and not address.is_multicast


def _refuse(source: str, found: str) -> SourceError:
    return SourceError(
        f"{source}: found a redirect to {found}, expected the same server or a public address; "
        "name the final address in the catalog file if it is right"
    )


class _PublicConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _check_peer(super()._new_conn())


class _PublicSecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _check_peer(super()._new_conn())


def _check_peer(connection: socket.socket) -> socket.socket:
    """Refuses a private peer before a byte is sent: a name may resolve otherwise than a moment ago."""
    try:
        _refuse_private(str(connection.getpeername()[0]), "download")
    except SourceError:
        connection.close()
        raise
    return connection


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicSecurePool(HTTPSConnectionPool):
    ConnectionCls = _PublicSecureConnection


class _PublicAdapter(HTTPAdapter):
    """Connects to public addresses only; a proxy of the environment, which connects itself, is exempt."""

    def init_poolmanager(self, *arguments, **options):  # type: ignore[no-untyped-def]
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicSecurePool}
