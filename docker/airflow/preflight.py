"""Checks secrets, memory, disk and mounts before any server starts. Each finding says what to do."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from mlops.checks.findings import MIN_FREE_DISK_GB, MIN_MEMORY_GB
from mlops.checks.strength import find_weaknesses, is_published

MIN_LENGTHS = {
    "AIRFLOW_ADMIN_PASSWORD": 8,
    "AIRFLOW_DB_PASSWORD": 8,
    "AIRFLOW_FERNET_KEY": 44,
    "AIRFLOW_JWT_SECRET": 64,
    "AIRFLOW_SECRET_KEY": 16,
    "GATEWAY_ROLLOUT_TOKEN": 16,
    "GATE_SIGNING_KEY": 16,
    "MINIO_ROOT_PASSWORD": 8,
    "MLFLOW_ADMIN_PASSWORD": 12,
    "MLFLOW_DB_PASSWORD": 8,
    "MLFLOW_SECRET_KEY": 16,
    "MLFLOW_SERVING_PASSWORD": 12,
    "MLFLOW_TRAINER_PASSWORD": 12,
    "POSTGRES_PASSWORD": 8,
    "S3_BACKUP_PASSWORD": 8,
    "S3_MLFLOW_PASSWORD": 8,
    "S3_TASKS_PASSWORD": 8,
    "UNIT_HASH_KEY": 16,
    "WAREHOUSE_DB_PASSWORD": 8,
    "WAREHOUSE_OWNER_DB_PASSWORD": 8,
}
"""Minimum length of each secret in characters, as the program that uses it requires; at least 8."""

TOKENS = Path("/etc/nginx/secrets/tokens")
"""The file docker/nginx/secrets/tokens, which the gateway reads beside GATEWAY_TOKENS."""

PROFILE_MIN_LENGTHS = {
    "AIRFLOW_MONITOR_PASSWORD": 8,
    "BROKER_PASSWORD": 8,
    "CELERY_DB_PASSWORD": 8,
    "GATEWAY_PROBE_TOKEN": 16,
    "GRAFANA_ADMIN_PASSWORD": 8,
    "MONITOR_DB_PASSWORD": 8,
}
"""The same for the secrets that only a profile's compose.yaml needs; an older .env may lack them."""

HOW_TO_SECRETS = "move .env away and run `make env`, or set it by hand"


def is_loopback(address: str) -> bool:
    """Returns whether a bind address is reached from this machine alone; `[::1]` is how Compose wants `::1`."""
    return address == "localhost" or ip_address(address.removeprefix("[").removesuffix("]")).is_loopback


def read_tokens(environment: Mapping[str, str], file: Path = TOKENS) -> dict[str, str]:
    """The gateway's tokens by setting and name, of .env and of a file; the gateway checks how they are written."""
    listed = environment.get("GATEWAY_TOKENS", "").replace(",", "\n")
    with suppress(OSError):
        listed += f"\n{file.read_text()}"
    lines = [line.strip() for line in listed.splitlines()]
    entries = [line.partition(":") for line in lines if not line.startswith("#")]
    return {f"GATEWAY_TOKENS {name}": token for name, _, token in entries if token}


def check_secrets(environment: Mapping[str, str], tokens_file: Path = TOKENS) -> tuple[list[str], list[str]]:
    """Checks the secrets of .env against the address that the stack is published on.

    Returns:
        Failures, which forbid a start, and warnings.
    """
    lengths = MIN_LENGTHS | {name: length for name, length in PROFILE_MIN_LENGTHS.items() if name in environment}
    secrets = {name: environment.get(name, "") for name in lengths}
    failures = [
        f"{name}: expected at least {length} characters, found {len(secrets[name])}; {HOW_TO_SECRETS}"
        for name, length in lengths.items()
        if len(secrets[name]) < length
    ]
    bind = environment.get("BIND_ADDRESS") or "127.0.0.1"
    try:
        local = is_loopback(bind)
    except ValueError:
        return [*failures, f"BIND_ADDRESS: expected an IP address, found {bind!r}"], []
    where = f"BIND_ADDRESS {bind}"
    if local and environment.get("TLS_BY_PROXY") == "yes":  # a proxy publishes what it reaches on loopback
        local, where = False, "TLS_BY_PROXY=yes"
    tokens = read_tokens(environment, tokens_file)
    known = sorted(name for name, value in {**environment, **tokens}.items() if is_published(value))
    long = tokens | {name: value for name, value in secrets.items() if len(value) >= lengths[name]}
    weak = find_weaknesses({name: value for name, value in long.items() if name not in known})
    if local:
        warnings = [f"{finding}; fit for loopback only" for finding in weak]
        if known:
            warnings.append(f"published secrets in use, fit for loopback only: {', '.join(known)}")
        return failures, warnings
    if known:
        failures.append(f"{where} with published secrets: {', '.join(known)}; {HOW_TO_SECRETS}")
    failures += [f"{where} with {finding}; {HOW_TO_SECRETS}" for finding in weak]
    if not tokens:
        failures.append(
            f"GATEWAY_TOKENS: expected a token for predictions, because {where.replace(' ', ' is ')}, found none; set "
            "GATEWAY_TOKENS=name:token in .env, with a token of `openssl rand -hex 32`"
        )
    if environment.get("TLS") == "on" or is_loopback(bind):
        return failures, []
    return failures, [f"BIND_ADDRESS {bind} is not loopback: passwords travel in clear without TLS in front"]


def check_doors(environment: Mapping[str, str]) -> list[str]:
    """Checks that nothing travels in clear beyond this machine."""
    if environment.get("TLS_BY_PROXY") == "yes":
        return []
    failures = []
    programs = environment.get("PROGRAMS_ADDRESS") or "127.0.0.1"
    if not _is_surely_loopback(programs):
        failures.append(
            f"PROGRAMS_ADDRESS {programs}: expected loopback, because passwords travel in clear on these ports; with "
            "TLS=on the programs are reached through the gateway, or TLS_BY_PROXY=yes says that a proxy does TLS"
        )
    bind = environment.get("BIND_ADDRESS") or "127.0.0.1"
    if environment.get("TLS") != "on" and not _is_surely_loopback(bind):
        failures.append(
            f"BIND_ADDRESS {bind}: expected TLS=on off loopback, found {environment.get('TLS')!r}; run `make tls` and "
            "set TLS=on in .env, or TLS_BY_PROXY=yes if a proxy before the gateway does it"
        )
    return failures


def check_workers_address(environment: Mapping[str, str]) -> list[str]:
    """Checks the address at which workers on other hosts reach the stack, where `hosts` publishes ports there."""
    if "WORKERS_ADDRESS" not in environment:
        return []
    found = environment["WORKERS_ADDRESS"]
    why = "expected the IP address of this host in a private network, because passwords travel in clear there"
    how = "set WORKERS_ADDRESS in .env (docs/scaling.md)"
    try:
        address = ip_address(found.removeprefix("[").removesuffix("]"))
    except ValueError:
        return [f"WORKERS_ADDRESS {found[:60]!r}: {why}, found another text; {how}"]
    if address.is_unspecified:
        return [f"WORKERS_ADDRESS {found}: {why}, found every address of this host; {how}"]
    if address.is_loopback:
        return [f"WORKERS_ADDRESS {found}: {why}, found one that no other host reaches; {how}"]
    if address.is_global or address.is_multicast or address.is_reserved:
        return [f"WORKERS_ADDRESS {found}: {why}, found a public one; {how}"]
    secrets = {name: environment.get(name, "") for name in MIN_LENGTHS | PROFILE_MIN_LENGTHS if name in environment}
    known = [
        f"{name}: expected a random secret, found a published one" for name in secrets if is_published(secrets[name])
    ]
    return [
        f"WORKERS_ADDRESS {found} with {finding}; {HOW_TO_SECRETS}" for finding in known or find_weaknesses(secrets)
    ]


def _is_surely_loopback(address: str) -> bool:
    try:
        return is_loopback(address)
    except ValueError:
        return False


def check_memory(total_gb: float) -> list[str]:
    """Checks the memory of the machine, or of the virtual machine that Docker runs in."""
    if total_gb >= MIN_MEMORY_GB:
        return []
    return [
        f"memory: expected at least {MIN_MEMORY_GB:.0f} GB for Docker, found {total_gb:.1f} GB; "
        "with Docker Desktop raise Settings > Resources > Memory"
    ]


def check_disk(free_gb: float) -> list[str]:
    """Checks the free disk space for volumes."""
    if free_gb >= MIN_FREE_DISK_GB:
        return []
    return [
        f"disk: expected at least {MIN_FREE_DISK_GB:.0f} GB free for volumes, found {free_gb:.1f} GB; "
        "`docker system df` shows what Docker holds"
    ]


def check_mounts(folders: list[Path], logs: Path) -> list[str]:
    """Checks that the mounted folders of the repository are readable, and that the volume of logs is writable."""
    if not os.access(logs, os.W_OK | os.X_OK):
        return [
            f"{logs}: expected a volume that user id {os.getuid()} may write, found that it may not; it belongs to an "
            "earlier AIRFLOW_UID: docker compose down, docker volume rm mlops-loop_airflow-logs"
        ]
    return [
        f"{folder}: expected a folder that user id {os.getuid()} may read, found that it may not; set AIRFLOW_UID in "
        ".env to the owner's id (`id -u`), then `docker compose build`"
        for folder in folders
        if not os.access(folder, os.R_OK | os.X_OK)
    ]


def read_total_memory_gb(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Returns the machine's memory in GB (10^9 bytes)."""
    kibibytes = int(meminfo.read_text().split("MemTotal:")[1].split()[0])
    return kibibytes * 1024 / 1e9


def run(environment: Mapping[str, str], home: Path = Path("/opt/airflow")) -> tuple[list[str], list[str]]:
    """Runs every check. Returns failures and warnings."""
    failures, warnings = check_secrets(environment)
    failures += check_doors(environment)
    failures += check_workers_address(environment)
    failures += check_memory(read_total_memory_gb())
    failures += check_disk(shutil.disk_usage(home / "logs").free / 1e9)
    failures += check_mounts([home / "dags", home / "plugins", Path("/opt/mlops/ml_code")], home / "logs")
    return failures, warnings


def main() -> None:
    """Prints every finding, and ends with 1 if one forbids a start."""
    failures, warnings = run(os.environ)
    for warning in warnings:
        print(f"WARNING: {warning}")
    for failure in failures:
        print(f"FAIL: {failure}")
    if failures:
        sys.exit(1)
    print("preflight: passed")


if __name__ == "__main__":
    main()
