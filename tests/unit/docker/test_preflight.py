from __future__ import annotations

import subprocess
from pathlib import Path
from secrets import token_hex
from types import ModuleType

import pytest

from ml_code.settings import REPOSITORY
from mlops.host import read_env_file
from tests.unit.docker.secret_lengths import SHORTEST


def test_every_secret_of_the_example_has_a_shortest_length() -> None:
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    assert {line.partition("=")[0] for line in lines if "=insecure-" in line and line[0] != "#"} == set(SHORTEST)


def test_random_secrets_on_loopback_pass_without_a_message(preflight: ModuleType, secrets: dict[str, str]) -> None:
    assert preflight.check_secrets(secrets | {"BIND_ADDRESS": "127.0.0.1"}) == ([], [])


@pytest.mark.parametrize(
    "of_profile",
    [
        {"BROKER_PASSWORD", "CELERY_DB_PASSWORD"},
        {"AIRFLOW_MONITOR_PASSWORD", "GATEWAY_PROBE_TOKEN", "GRAFANA_ADMIN_PASSWORD", "MONITOR_DB_PASSWORD"},
    ],
    ids=["celery", "observability"],
)
def test_the_secrets_of_a_profile_are_needed_only_where_it_is_on(
    preflight: ModuleType, secrets: dict[str, str], of_profile: set[str]
) -> None:
    others = {name: secret for name, secret in secrets.items() if name not in of_profile}
    assert preflight.check_secrets(others) == ([], [])
    failures, _ = preflight.check_secrets(others | dict.fromkeys(of_profile, "short"))
    assert {failure.partition(":")[0] for failure in failures} == of_profile


def test_known_secrets_on_loopback_are_a_warning(preflight: ModuleType, secrets: dict[str, str]) -> None:
    failures, warnings = preflight.check_secrets(secrets | {"AIRFLOW_DB_PASSWORD": "insecure-airflow-db"})
    assert failures == []
    assert "AIRFLOW_DB_PASSWORD" in warnings[0]


def test_known_secrets_off_loopback_forbid_a_start(preflight: ModuleType, secrets: dict[str, str]) -> None:
    known = {"AIRFLOW_DB_PASSWORD": "insecure-airflow-db", "BIND_ADDRESS": "0.0.0.0"}
    failures, _ = preflight.check_secrets(secrets | known)
    assert "AIRFLOW_DB_PASSWORD" in failures[0]
    assert "make env" in failures[0]


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "[::]", "192.0.2.7", "2001:db8::1", "[2001:db8::1]", "fe80::1%eth0"])
@pytest.mark.parametrize("name", SHORTEST)
def test_off_loopback_each_secret_must_be_random(
    preflight: ModuleType, secrets: dict[str, str], name: str, bind: str
) -> None:
    [failure], _ = preflight.check_secrets(secrets | {name: "Summer2026!" * 12, "BIND_ADDRESS": bind})
    assert failure.startswith(f"BIND_ADDRESS {bind} with {name}: expected a random secret of at least 64 bits")
    assert "Summer" not in failure


def test_off_loopback_no_secret_is_used_twice(preflight: ModuleType, secrets: dict[str, str]) -> None:
    twice = {"MLFLOW_DB_PASSWORD": secrets["AIRFLOW_DB_PASSWORD"], "BIND_ADDRESS": "0.0.0.0"}
    [failure], _ = preflight.check_secrets(secrets | twice)
    assert "MLFLOW_DB_PASSWORD: expected a secret of its own, found one like AIRFLOW_DB_PASSWORD" in failure


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "[::1]", "", None])
def test_on_loopback_a_weak_secret_is_a_warning(
    preflight: ModuleType, secrets: dict[str, str], bind: str | None
) -> None:
    address = {} if bind is None else {"BIND_ADDRESS": bind}
    failures, [warning] = preflight.check_secrets(secrets | {"POSTGRES_PASSWORD": "postgres-2026"} | address)
    assert failures == []
    assert warning.startswith("POSTGRES_PASSWORD: expected at least 16 characters, found 13")


@pytest.mark.parametrize("bind", ["127.1", "0", "example.org", "0x7f000001", "127.0.0.1 ", "localhost.evil.example"])
def test_an_address_in_another_form_forbids_a_start(preflight: ModuleType, secrets: dict[str, str], bind: str) -> None:
    failures, _ = preflight.check_secrets(secrets | {"BIND_ADDRESS": bind})
    assert failures == [f"BIND_ADDRESS: expected an IP address, found {bind!r}"]


def test_what_make_env_writes_passes_on_every_address(preflight: ModuleType, tmp_path: Path) -> None:
    subprocess.run([REPOSITORY / "docker/bin/env.sh", tmp_path / "env"], check=True, capture_output=True)
    tokens = {"BIND_ADDRESS": "0.0.0.0", "GATEWAY_TOKENS": f"ann:{token_hex(16)}"}
    failures, _ = preflight.check_secrets(read_env_file(tmp_path / "env") | tokens)
    assert failures == []


def test_off_loopback_warns_that_it_needs_tls(preflight: ModuleType, secrets: dict[str, str]) -> None:
    _, warnings = preflight.check_secrets(secrets | {"BIND_ADDRESS": "192.0.2.7"})
    assert "TLS" in warnings[0]


@pytest.mark.parametrize("name", SHORTEST)
@pytest.mark.parametrize("is_empty", [False, True], ids=["one letter less", "empty"])
def test_a_missing_or_short_secret_is_named(
    preflight: ModuleType, secrets: dict[str, str], name: str, *, is_empty: bool
) -> None:
    value = "" if is_empty else secrets[name][: SHORTEST[name] - 1]
    [failure], _ = preflight.check_secrets(secrets | {name: value})
    assert failure.startswith(f"{name}: expected at least {SHORTEST[name]} characters, found {len(value)}")


def test_a_secret_that_is_not_set_is_named(preflight: ModuleType, secrets: dict[str, str]) -> None:
    del secrets["POSTGRES_PASSWORD"]
    [failure], _ = preflight.check_secrets(secrets)
    assert failure.startswith("POSTGRES_PASSWORD: expected at least 8 characters, found 0")


def test_the_error_of_too_little_memory_tells_found_expected_and_where_to_raise_it(preflight: ModuleType) -> None:
    assert preflight.check_memory(8.0) == []
    assert "expected at least 4 GB for Docker, found 2.1 GB" in preflight.check_memory(2.1)[0]


def test_too_little_disk_is_named(preflight: ModuleType) -> None:
    assert preflight.check_disk(10.0) == []
    assert "found 0.5 GB" in preflight.check_disk(0.5)[0]


def test_a_folder_that_cannot_be_read_names_the_setting(preflight: ModuleType, tmp_path: Path) -> None:
    assert preflight.check_mounts([tmp_path], tmp_path) == []
    assert "AIRFLOW_UID" in preflight.check_mounts([tmp_path / "missing"], tmp_path)[0]


def test_the_error_of_an_unwritable_log_volume_tells_how_to_create_it_again(
    preflight: ModuleType, tmp_path: Path
) -> None:
    assert "docker volume rm" in preflight.check_mounts([tmp_path], tmp_path / "missing")[0]


@pytest.mark.parametrize("token", ["password-password", "insecure-gateway-token", "aaaaaaaaaaaaaaaaaaaa"])
def test_a_guessable_token_is_refused_off_loopback_by_its_name(
    preflight: ModuleType, secrets: dict[str, str], token: str
) -> None:
    given = secrets | {"BIND_ADDRESS": "0.0.0.0", "TLS": "on", "GATEWAY_TOKENS": f"ann:{token_hex(16)},bob:{token}"}
    failures, _ = preflight.check_secrets(given)
    assert len(failures) == 1
    assert "GATEWAY_TOKENS bob" in failures[0]
    assert token not in failures[0]


def test_off_loopback_predictions_need_a_token_of_the_settings_or_of_the_file(
    preflight: ModuleType, secrets: dict[str, str], tmp_path: Path
) -> None:
    none, file = secrets | {"GATEWAY_TOKENS": ""}, tmp_path / "tokens"
    assert preflight.check_secrets(none, file) == ([], [])
    wide = none | {"BIND_ADDRESS": "0.0.0.0", "TLS": "on"}
    [failure], _ = preflight.check_secrets(wide, file)
    assert failure.startswith("GATEWAY_TOKENS: expected a token for predictions, because BIND_ADDRESS is 0.0.0.0")
    file.write_text("# no entry\n")
    assert len(preflight.check_secrets(wide, file)[0]) == 1
    file.write_text(f"# programs\n shop:{token_hex(16)}\n")
    assert preflight.check_secrets(wide, file) == ([], [])


@pytest.mark.parametrize("bind", ["127.0.0.1", "", "[::1]"])
def test_behind_a_proxy_loopback_needs_a_token_and_secrets_of_its_own(
    preflight: ModuleType, secrets: dict[str, str], tmp_path: Path, bind: str
) -> None:
    given = secrets | {"GATEWAY_TOKENS": "", "BIND_ADDRESS": bind, "TLS_BY_PROXY": "yes"}
    failures, warnings = preflight.check_secrets(given, tmp_path / "tokens")
    assert [failure.partition(",")[0] for failure in failures] == ["GATEWAY_TOKENS: expected a token for predictions"]
    assert "because TLS_BY_PROXY=yes, found none" in failures[0]
    assert warnings == []
    assert preflight.check_secrets(given | {"GATEWAY_TOKENS": f"shop:{token_hex(16)}"}) == ([], [])


def test_a_guessable_token_of_the_file_is_refused_as_well(
    preflight: ModuleType, secrets: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("shop:password-password\n")
    [failure], _ = preflight.check_secrets(secrets | {"BIND_ADDRESS": "0.0.0.0", "TLS": "on"}, tmp_path / "tokens")
    assert "with GATEWAY_TOKENS shop: expected a random secret" in failure
