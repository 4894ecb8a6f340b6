"""The replicas, found by host name; reads from each its versions and its counters."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import httpx

from serving.comparison.counters import Reading, read_counters
from serving.comparison.senders import Evidence, read_evidence
from serving.errors import BreachError, FleetError
from serving.figures import EVIDENCE_PATH, FAILED
from serving.registry.names import CHALLENGER, CHAMPION, SHADOW

PASSING_SECONDS = 60
"""A replica retries sooner what may still succeed, such as a download; the rest it refuses."""

STEADY_READINGS = 2
"""Readings in a row that must agree: DNS may list a replica a moment before it drops or adds another."""

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Challenger:
    """Which challenger a replica of the canary pool answers with, and which it refuses and why.

    A shadow answers nobody: `rows` it has predicted, and `failed` for others.
    """

    version: str | None
    refused_version: str | None = None
    reason: str = ""
    rows: int = 0
    failed: int = 0


class Fleet(Protocol):
    """The replicas as a rollout needs them."""

    @property
    def has_canary_pool(self) -> bool:
        """Whether there is a pool for a canary."""

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        """The version of the champion that each replica's address answers with; None where it is not known."""

    def read_challengers(self, model: str, alias: str = CHALLENGER) -> Mapping[str, Challenger]:
        """The challenger, or the shadow, of each replica of the canary pool, by its address."""

    def read_refusals(self, model: str, version: str) -> Mapping[str, str]:
        """Why replicas refuse the version as champion, by their addresses; one that is only absent has no reason."""

    def read_figures(self, model: str) -> Mapping[str, Reading]:
        """The counters of each replica that returns them, by its address."""

    def read_evidence(self, model: str, version: str, mark: str) -> Mapping[str, Evidence]:
        """What drawn requests showed of a challenger since a rollout's mark, by the replicas' processes."""


class DnsFleet:
    """Replicas behind host names; `find_replicas` tells what these list.

    >>> DnsFleet(["serving"], ["serving-canary"], 3000).read_versions("iris")
    {'172.18.0.5:3000': '3', '172.18.0.6:3000': '3', '172.18.0.7:3000': '2'}
    """

    def __init__(self, stable_hosts: list[str], canary_hosts: list[str], port: int) -> None:
        self._stable_hosts = stable_hosts
        self._canary_hosts = canary_hosts
        self._port = port

    @property
    def has_canary_pool(self) -> bool:
        """Whether a host name of the canary pool was given."""
        return bool(self._canary_hosts)

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        """Asks every listed address for its versions."""
        with _open_client() as client:
            return {
                address: _find_version(_list_models(client, address), model, CHAMPION)
                for address in find_replicas([*self._stable_hosts, *self._canary_hosts], self._port)
            }

    def read_challengers(self, model: str, alias: str = CHALLENGER) -> Mapping[str, Challenger]:
        """Asks every listed address of the canary pool for its challenger, or for its shadow."""
        with _open_client() as client:
            return {
                address: _read_challenger(client, address, model, alias)
                for address in find_replicas(self._canary_hosts, self._port)
            }

    def read_refusals(self, model: str, version: str) -> Mapping[str, str]:
        """Asks every listed address whether it refuses the version as champion."""
        found = {}
        with _open_client() as client:
            for address in find_replicas([*self._stable_hosts, *self._canary_hosts], self._port):
                refusal = _read_refusal(client, address, model, CHAMPION)
                if refusal is not None and refusal[0] == version:
                    found[address] = refusal[1]
        return found

    def read_figures(self, model: str) -> Mapping[str, Reading]:
        """Asks every listed address for its counters; one that does not answer is left out."""
        found = {}
        with _open_client() as client:
            for address in find_replicas([*self._stable_hosts, *self._canary_hosts], self._port):
                text = _get(client, f"http://{address}/metrics")
                if text is not None:
                    found[address] = read_counters(text.text, model)
        return found

    def read_evidence(self, model: str, version: str, mark: str) -> Mapping[str, Evidence]:
        """Asks every listed address of the canary pool for its evidence; one that does not answer is left out."""
        found = {}
        with _open_client() as client:
            for address in find_replicas(self._canary_hosts, self._port):
                answer = _get(client, f"http://{address}{EVIDENCE_PATH}")
                one = read_evidence(_read_json(answer), model, version, mark) if answer else None
                if one is not None:
                    found[one[0]] = one[1]
        return found


def find_replicas(hosts: Iterable[str], port: int) -> list[str]:
    """The address of every replica, from the names that list them.

    - With Docker, a service's name lists its running containers.
    - With Kubernetes, the name of a headless Service lists its pods, also those that are not ready.
    - Without both, a name lists the one replica of this machine.

    >>> find_replicas(["serving", "serving-canary"], 3000)
    ['172.18.0.5:3000', '172.18.0.6:3000', '172.18.0.7:3000']
    """
    found: set[str] = set()
    for host in hosts:
        try:
            answers = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
        except socket.gaierror:  # a name whose replicas are all gone is dropped
            continue
        found |= {f"{answer[4][0]!s}:{port}" for answer in answers}
    return sorted(found)


def wait_for_version(
    fleet: Fleet,
    model: str,
    version: str,
    timeout_seconds: float,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Waits until, twice in a row, at least one replica is listed and every one answers with the version.

    Returns:
        The addresses of the replicas.

    Raises:
        FleetError: the replicas did not reach the version in time.
    """

    def read() -> tuple[Mapping[str, str | None], bool]:
        versions = fleet.read_versions(model)
        return versions, bool(versions) and set(versions.values()) == {version}

    return _wait(read, f"{model}: every replica to answer with version {version}", timeout_seconds, pause, clock)


def wait_for_challenger(
    fleet: Fleet,
    model: str,
    version: str,
    timeout_seconds: float,
    *,
    alias: str = CHALLENGER,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Waits until, twice in a row, the canary pool lists a replica and every one answers with the challenger.

    Of the alias `shadow`: until every one has it predict.

    Returns:
        The addresses of the replicas.

    Raises:
        FleetError: they did not reach the version in time.
        BreachError: one of them refuses the version, and says why.
    """

    def read() -> tuple[Mapping[str, str | None], bool]:
        challengers = fleet.read_challengers(model, alias)
        for address, challenger in challengers.items():
            if challenger.refused_version == version:
                raise BreachError(f"the canary {address} refuses version {version}: {challenger.reason}")
        versions = {address: challenger.version for address, challenger in challengers.items()}
        return versions, bool(versions) and set(versions.values()) == {version}

    verb = "predict" if alias == SHADOW else "answer"
    return _wait(read, f"{model}: the canary pool to {verb} with version {version}", timeout_seconds, pause, clock)


def _wait(
    read: Callable[[], tuple[Mapping[str, str | None], bool]],
    expected: str,
    timeout_seconds: float,
    pause: Callable[[float], None],
    clock: Callable[[], float],
) -> list[str]:
    deadline = clock() + timeout_seconds
    steady, last = 0, None
    while True:
        versions, is_so = read()
        steady = steady + 1 if is_so else 0
        if versions != last:
            logger.info("%s; the replicas have %s", expected, dict(versions))
            last = versions
        if steady >= STEADY_READINGS:
            return list(versions)
        if clock() > deadline:
            raise FleetError(
                f"{expected}: expected it within {timeout_seconds:.0f} s, found {dict(versions) or 'no replica'}; "
                "the replicas' /readyz and logs say why"
            )
        pause(1.0)


def _open_client() -> httpx.Client:
    """Ignores the proxies of the environment: their list of exceptions cannot name a replica's address."""
    return httpx.Client(timeout=5.0, trust_env=False)


def _read_challenger(client: httpx.Client, address: str, model: str, alias: str) -> Challenger:
    found = _read_shadow(client, address, model) if alias == SHADOW else None
    if found is None:
        found = Challenger(_find_version(_list_models(client, address), model, alias))
    refusal = _read_refusal(client, address, model, alias)
    return found if refusal is None else replace(found, refused_version=refusal[0], reason=refusal[1])


def _read_shadow(client: httpx.Client, address: str, model: str) -> Challenger | None:
    """The shadow that a replica holds, which no list of versions that answer has."""
    state = _get(client, f"http://{address}/readyz", any_status=True)
    for shadow in _read_json(state).get("shadows", []) if state else []:
        if shadow.get("name") == model:
            failed = shadow.get("dropped", {}).get(FAILED, 0)
            return Challenger(str(shadow.get("version")), rows=int(shadow.get("rows", 0)), failed=int(failed))
    return None


def _read_refusal(client: httpx.Client, address: str, model: str, alias: str) -> tuple[str, str] | None:
    """The version that a replica refuses under an alias, and why; None without one."""
    state = _get(client, f"http://{address}/readyz", any_status=True)
    for problem in _read_json(state).get("problems", []) if state else []:
        is_meant = problem.get("model") == model and problem.get("alias") == alias
        if is_meant and problem.get("retry_in_seconds", 0) > PASSING_SECONDS:
            return str(problem.get("version")), str(problem.get("reason"))
    return None


def _list_models(client: httpx.Client, address: str) -> list[dict[str, Any]]:
    answer = _get(client, f"http://{address}/models")
    models: list[dict[str, Any]] = _read_json(answer).get("models", []) if answer else []
    return models


def _find_version(models: list[dict[str, Any]], model: str, variant: str) -> str | None:
    return next((str(m.get("version")) for m in models if m.get("name") == model and m.get("variant") == variant), None)


def _get(client: httpx.Client, url: str, *, any_status: bool = False) -> httpx.Response | None:
    try:
        answer = client.get(url)
    except httpx.HTTPError:
        return None
    return answer if any_status or answer.status_code == httpx.codes.OK else None


def _read_json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
