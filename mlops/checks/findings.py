"""The checks of `mlops doctor`: functions from the facts to a finding and an advice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Literal

from ml_code.disk import FULL_SHARE, NOTABLE_SHARE
from mlops.checks.strength import find_weaknesses
from mlops.local.ports import LARGEST, is_port

MIN_MEMORY_GB = 4.0
"""Memory of the machine for the compose project: it idles under 3 GB, and a training adds up to 1 GB."""
MIN_DEMO_MEMORY_GB = 3.0
MIN_FREE_DISK_GB = 2.0
MIN_COMPOSE = (2, 24)
MAX_BACKUP_DAYS = 2.0
MAX_SKEW_SECONDS = 300.0
"""S3 refuses a signature whose time differs by more."""
NOTABLE_SKEW_SECONDS = 30.0

State = Literal["ok", "warning", "failure"]
Answer = Literal["answers", "taken", "silent"]
"""At a port: the service itself, another program, or no program."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one subject, and the advice for it."""

    subject: str
    state: State
    found: str
    advice: str = ""


def check_docker(engine: str | None, compose: str | None, *, has_client: bool) -> Finding:
    """Judges the versions of the engine and of Compose; None if a version is unknown."""
    without = "or run `make demo`, which needs no Docker"
    if not has_client:
        return Finding("Docker", "warning", "not installed", f"install Docker with Compose, {without}")
    if engine is None:
        advice = f"start it, or add yourself to the group `docker`, {without}"
        return Finding("Docker", "warning", "no engine answers", advice)
    if compose is None or _read_version(compose) < MIN_COMPOSE:
        wanted = ".".join(map(str, MIN_COMPOSE))
        return Finding("Docker", "failure", f"Compose {compose or 'missing'}", f"install Compose {wanted} or newer")
    return Finding("Docker", "ok", f"engine {engine}, Compose {compose}")


def check_memory(total_gb: float) -> Finding:
    """Judges the memory of this machine, in GB."""
    found = f"{total_gb:.1f} GB"
    if total_gb < MIN_DEMO_MEMORY_GB:
        return Finding("memory", "failure", found, f"expected {MIN_MEMORY_GB:.0f} GB; give the machine more")
    if total_gb < MIN_MEMORY_GB:
        return Finding("memory", "warning", found, f"`make up` needs {MIN_MEMORY_GB:.0f} GB, `make demo` needs 3")
    return Finding("memory", "ok", found)


def check_disk(free_gb: float, used_share: float) -> Finding:
    """Judges the free space of the repository's disk, in GB and as a share."""
    found = f"{free_gb:.1f} GB free, {used_share:.0%} used"
    if free_gb < MIN_FREE_DISK_GB:
        advice = f"expected {MIN_FREE_DISK_GB:.0f} GB; `docker system df` shows what Docker holds"
        return Finding("disk", "failure", found, advice)
    if used_share >= NOTABLE_SHARE:
        advice = f"from {FULL_SHARE:.0%} on no prediction is logged; lower the limits of housekeeping in .env"
        return Finding("disk", "warning", found, advice)
    return Finding("disk", "ok", found)


def check_backup(age_days: float | None, *, has_target: bool) -> Finding:
    """Judges the age of the last whole set, in days; None if there is no such set."""
    if not has_target:
        advice = "set BACKUP_DIR in .env, and run `mlops backup` every night (docs/operations.md)"
        return Finding("backup", "warning", "no BACKUP_DIR", advice)
    if age_days is None:
        return Finding("backup", "warning", "no whole set", "`mlops backup` makes one")
    found = f"the last whole set is {age_days:.1f} days old"
    if age_days > MAX_BACKUP_DAYS:
        return Finding("backup", "warning", found, "run `mlops backup`, and look why the nightly one failed")
    return Finding("backup", "ok", found)


def check_clock(service: str, date: datetime, now: datetime) -> Finding:
    """Judges the difference between a service's time and this machine's."""
    skew = abs((date - now).total_seconds())
    found = f"{skew:.0f} s from that of {service}"
    advice = "set the clock (NTP); restart Docker Desktop, whose clock stops while the machine sleeps"
    if skew > MAX_SKEW_SECONDS:
        return Finding("clock", "failure", f"{found}; S3 refuses signatures from {MAX_SKEW_SECONDS:.0f} s on", advice)
    if skew > NOTABLE_SKEW_SECONDS:
        return Finding("clock", "warning", found, advice)
    return Finding("clock", "ok", found)


def read_date(text: str) -> datetime | None:
    """The moment in a `Date` header; None without a valid one."""
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check_settings(values: Mapping[str, str] | None, example: Mapping[str, str]) -> Finding:
    """Judges the settings of .env against those of .env.example; None if .env does not exist."""
    if values is None:
        return Finding("settings", "warning", "no .env", "`make up` writes it, or `make env`")
    if failure := _find_wrong_setting(values, example):
        return failure
    if insecure := _list_insecure(values):
        advice = "fit for this machine only; move .env away and run `make env`"
        return Finding("settings", "warning", f"{len(insecure)} known secrets of .env.example", advice)
    if new := sorted(set(example) - set(values)):
        return Finding("settings", "warning", f"no {', '.join(new)}", "defaults count; compare with .env.example")
    return Finding("settings", "ok", "complete, secrets are random")


def _find_wrong_setting(values: Mapping[str, str], example: Mapping[str, str]) -> Finding | None:
    """A setting that prevents a start, or a safe start."""
    # A secret has no default: without it nothing starts.
    if missing := [name for name in _list_insecure(example) if not values.get(name)]:
        return Finding("settings", "failure", f"no {', '.join(missing)}", "compare with .env.example")
    ports = {name: value for name, value in values.items() if name.endswith("_PORT") and value}
    if wrong := [f"{name} {value}" for name, value in ports.items() if not is_port(value)]:
        return Finding("settings", "failure", ", ".join(wrong), f"expected a port from 1 to {LARGEST}")
    bind = values.get("BIND_ADDRESS") or "127.0.0.1"
    weak = find_weaknesses({name: values[name] for name in _list_insecure(example)})
    if weak and not _is_loopback(bind):
        found = f"BIND_ADDRESS {bind} with {'; '.join(weak)}"
        return Finding("settings", "failure", found, "move .env away and run `make env`")
    return None


def _list_insecure(values: Mapping[str, str]) -> list[str]:
    return sorted(name for name, value in values.items() if value.startswith("insecure-"))


def check_packages(pinned: Mapping[str, str], installed: Mapping[str, str]) -> Finding:
    """Judges the installed versions against those of the lock, by package."""
    differing = [
        f"{name} {installed.get(name, 'missing')} instead of {version}"
        for name, version in pinned.items()
        if installed.get(name) != version
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        return Finding("packages", "failure", ", ".join(differing[:3]) + more, "`make install`")
    return Finding("packages", "ok", f"{len(pinned)} as pinned")


def check_openmp(*, is_installed: bool) -> Finding:
    """Judges whether this machine has OpenMP's runtime."""
    if is_installed:
        return Finding("OpenMP", "ok", "installed")
    advice = "Debian: apt install libgomp1, macOS: brew install libomp; neither `make up` nor `make demo` needs it"
    return Finding("OpenMP", "warning", "no libgomp: `mlops train` and `make test` cannot use LightGBM", advice)


def check_services(answers: Mapping[str, tuple[str, Answer]]) -> list[Finding]:
    """Judges each service by its port, such as `AIRFLOW_PORT 8080`, and the program that listens there."""
    runs = any(answer == "answers" for _, answer in answers.values())
    found = []
    for service, (port, answer) in answers.items():
        if answer == "answers":
            found.append(Finding(service, "ok", f"answers at {port}"))
        elif answer == "taken":
            advice = f"set another {port.split()[0]} in .env, or end that program"
            found.append(Finding(service, "failure", f"another program listens at {port}", advice))
        elif runs:
            advice = (
                "`docker compose ps` or `mlops local status` shows its state, `make up` or `mlops local up` starts it"
            )
            found.append(Finding(service, "failure", f"does not answer at {port}", advice))
    if not runs:
        found.append(Finding("services", "warning", "none runs", "`make up`, or `make demo` without Docker"))
    return found


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether no finding is a failure."""
    return all(finding.state != "failure" for finding in findings)


def _read_version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ip_address(address.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
