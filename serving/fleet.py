"""The replicas that serve, found by name and asked one by one which version they answer with."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import httpx

from serving.errors import FleetError

STEADY_READINGS = 2
"""Readings in a row that must agree: DNS may list a replica a moment before it drops or adds another."""

logger = logging.getLogger("serving")


class Fleet(Protocol):
    """What a rollout asks of the replicas."""

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        """The version of the champion that each replica's address answers with; None where it cannot say."""


class DnsFleet:
    """Replicas behind host names that list one address for each of them.

    >>> DnsFleet(["serving", "serving-canary"], 3000).read_versions("iris")
    {'172.18.0.5:3000': '3', '172.18.0.6:3000': '3', '172.18.0.7:3000': '2'}
    """

    def __init__(self, hosts: list[str], port: int) -> None:
        self._hosts = hosts
        self._port = port

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        """Asks every listed address for its versions."""
        with httpx.Client(timeout=5.0) as client:
            return {address: _read_version(client, address, model) for address in self._list_addresses()}

    def _list_addresses(self) -> list[str]:
        found: set[str] = set()
        for host in self._hosts:
            try:
                answers = socket.getaddrinfo(host, self._port, socket.AF_INET, socket.SOCK_STREAM)
            except socket.gaierror:  # Docker drops a name whose containers are all gone
                continue
            found |= {f"{answer[4][0]!s}:{self._port}" for answer in answers}
        return sorted(found)


def wait_for_version(
    fleet: Fleet, model: str, version: str, timeout_seconds: float, pause: Callable[[float], None] = time.sleep
) -> list[str]:
    """Waits until every listed replica answers with a version, at least one is listed, twice running.

    Returns:
        The addresses of the replicas.

    Raises:
        FleetError: the replicas did not come to it in time.
    """
    deadline = time.monotonic() + timeout_seconds
    steady, last = 0, None
    while True:
        versions = fleet.read_versions(model)
        steady = steady + 1 if versions and set(versions.values()) == {version} else 0
        if versions != last:
            logger.info("%s: the replicas answer with %s, expected %s", model, dict(versions), version)
            last = versions
        if steady >= STEADY_READINGS:
            return list(versions)
        if time.monotonic() > deadline:
            raise FleetError(
                f"{model}: expected every replica to answer with version {version} within {timeout_seconds:.0f} s, "
                f"found {dict(versions) or 'no replica'}; the replicas' /readyz and logs say why"
            )
        pause(1.0)


def _read_version(client: httpx.Client, address: str, model: str) -> str | None:
    try:
        answer = client.get(f"http://{address}/models")
        models = answer.json()["models"] if answer.status_code == httpx.codes.OK else []
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    return next((str(m["version"]) for m in models if m["name"] == model and m["variant"] == "champion"), None)
