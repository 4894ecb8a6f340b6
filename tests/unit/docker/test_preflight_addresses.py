"""The addresses at which preflight permits a stack to publish its ports."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

OPEN_DOORS = {
    "in clear": {"BIND_ADDRESS": "0.0.0.0"},
    "off": {"BIND_ADDRESS": "0.0.0.0", "TLS": "off"},
    "IPv6": {"BIND_ADDRESS": "[::]"},
    "a name": {"BIND_ADDRESS": "ml.example"},
    "programs": {"PROGRAMS_ADDRESS": "192.168.1.5"},
    "programs with TLS": {"PROGRAMS_ADDRESS": "0.0.0.0", "BIND_ADDRESS": "0.0.0.0", "TLS": "on"},
    "a proxy that may be": {"BIND_ADDRESS": "0.0.0.0", "TLS_BY_PROXY": "no"},
}
SHUT_DOORS = {
    "nothing": {},
    "empty": {"BIND_ADDRESS": "", "PROGRAMS_ADDRESS": ""},
    "loopback": {"BIND_ADDRESS": "127.0.0.1", "PROGRAMS_ADDRESS": "[::1]"},
    "TLS": {"BIND_ADDRESS": "0.0.0.0", "TLS": "on"},
    "a proxy": {"BIND_ADDRESS": "10.0.0.5", "PROGRAMS_ADDRESS": "10.0.0.5", "TLS_BY_PROXY": "yes"},
}


@pytest.mark.parametrize("way", OPEN_DOORS)
def test_what_travels_in_clear_beyond_this_machine_is_refused(preflight: ModuleType, way: str) -> None:
    found = preflight.check_doors(OPEN_DOORS[way])
    assert len(found) == 1
    assert "TLS_BY_PROXY=yes" in found[0]


@pytest.mark.parametrize("way", SHUT_DOORS)
def test_tls_or_loopback_is_let_through(preflight: ModuleType, way: str) -> None:
    assert preflight.check_doors(SHUT_DOORS[way]) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost"])
def test_an_address_of_this_machine_is_loopback(preflight: ModuleType, address: str) -> None:
    assert preflight.is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "[::]", "192.0.2.7", "10.0.0.1"])
def test_an_address_that_others_reach_is_not_loopback(preflight: ModuleType, address: str) -> None:
    assert not preflight.is_loopback(address)


@pytest.mark.parametrize("address", ["10.0.0.5", "172.18.0.1", "192.168.1.9", "100.64.0.7", "fd00::5", "[fd00::5]"])
def test_workers_on_other_hosts_reach_a_private_address(
    preflight: ModuleType, secrets: dict[str, str], address: str
) -> None:
    assert preflight.check_workers_address(secrets | {"WORKERS_ADDRESS": address}) == []


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("0.0.0.0", "every address of this host"),
        ("::", "every address of this host"),
        ("[::]", "every address of this host"),
        ("127.0.0.1", "one that no other host reaches"),
        ("8.8.8.8", "a public one"),
        ("2600::1", "a public one"),
        ("224.0.0.1", "a public one"),
        ("ml.example", "another text"),
        ("", "another text"),
    ],
)
def test_the_ports_for_workers_are_published_nowhere_else(
    preflight: ModuleType, secrets: dict[str, str], address: str, found: str
) -> None:
    [failure] = preflight.check_workers_address(secrets | {"WORKERS_ADDRESS": address})
    assert failure.startswith("WORKERS_ADDRESS ")
    assert f"found {found}; set WORKERS_ADDRESS in .env" in failure


def test_without_workers_on_other_hosts_there_is_no_such_address(preflight: ModuleType) -> None:
    assert preflight.check_workers_address({}) == []


def test_other_hosts_meet_random_secrets_alone(preflight: ModuleType, secrets: dict[str, str]) -> None:
    at = {"WORKERS_ADDRESS": "10.0.0.5"}
    [known] = preflight.check_workers_address(secrets | at | {"BROKER_PASSWORD": "insecure-broker"})
    [weak] = preflight.check_workers_address(secrets | at | {"BROKER_PASSWORD": "Summer2026!"})
    for failure in (known, weak):
        assert failure.startswith("WORKERS_ADDRESS 10.0.0.5 with BROKER_PASSWORD: ")
        assert "make env" in failure
        assert "ummer" not in failure


def test_the_address_of_workers_is_part_of_the_preflight(
    preflight: ModuleType, secrets: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    failures, _ = preflight.run(secrets | {"WORKERS_ADDRESS": "0.0.0.0"}, tmp_path)
    assert any(failure.startswith("WORKERS_ADDRESS 0.0.0.0") for failure in failures)
