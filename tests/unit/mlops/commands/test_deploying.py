from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from ml_code.datasets import CATALOG
from ml_code.errors import SettingsError
from ml_code.settings import Settings
from mlops import loop
from mlops.app import app
from mlops.commands import datasets, deploying, training
from tests.unit.mlops.fake_deployment import FakeAirflow
from tests.unit.serving.rollout_fakes import set_table, skip_validation


class ClosableAirflow(FakeAirflow):
    def close(self) -> None:
        pass


@pytest.fixture
def host(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text())
    host = settings.model_copy(update={"airflow_url": "http://airflow", "airflow_password": SecretStr("secret")})
    for module in (deploying, datasets, training):
        monkeypatch.setattr(module, "load_host_settings", lambda: host)
    return host


@pytest.fixture
def airflow(host: Settings, monkeypatch: pytest.MonkeyPatch) -> ClosableAirflow:
    """Version 1 of iris serves, and 2 has passed the gate."""
    table = set_table("2", champion="1")
    airflow = ClosableAirflow(table)
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)
    skip_validation(monkeypatch)
    monkeypatch.setattr(deploying, "connect_airflow", lambda _: airflow)
    monkeypatch.setattr("mlops.deployment.list_known_models", lambda url, access: {"iris"})
    monkeypatch.setattr("serving.rollout.control.connect_registry", lambda _, owner: table.control(owner))
    return airflow


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_a_deployed_version_is_printed_with_its_address_and_the_steps(airflow: ClosableAirflow) -> None:
    done = run("deploy", "iris")
    assert done.exit_code == 0, done.output
    assert "iris version 2 is served at http://" in done.stdout
    assert "/models/iris/predict" in done.stdout
    assert "Then: mlops predict iris FILE.csv" in done.stdout
    steps = [line.split()[0] for line in done.stderr.splitlines() if " success " in line]
    assert steps[0] == "plan"
    assert steps[-1] == "verify_through_gateway"


def test_a_version_that_is_not_served_has_exit_code_1_and_a_next_step(airflow: ClosableAirflow) -> None:
    done = run("deploy", "iris", "9")
    assert done.exit_code == 1
    assert "error: iris: found no version 9" in done.stderr
    assert "is served" not in done.stdout


def test_an_unknown_model_is_a_usage_error(airflow: ClosableAirflow) -> None:
    done = run("deploy", "tulips")
    assert done.exit_code == 2
    assert "found 'tulips', expected one of" in done.stderr


def test_ctrl_c_ends_the_command_as_in_shells(airflow: ClosableAirflow) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    airflow.before["start_canary"] = interrupt
    done = run("deploy", "iris")
    assert done.exit_code == 130
    assert "the rollout goes on" in done.stderr


def test_settings_without_airflow_name_what_is_missing(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"AIRFLOW_ADMIN_PASSWORD in the \.env"):
        deploying.connect_airflow(settings)


@pytest.mark.parametrize(("trained", "code"), [("7", 0), (None, 1)])
def test_a_training_deploys_what_it_registered_and_fails_without_a_version(
    host: Settings, trained: str | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed: list[tuple[str, str | None, bool]] = []
    monkeypatch.setattr(training, "_run", lambda *_, deploy: trained)
    monkeypatch.setattr(
        training,
        "deploy_version",
        lambda _, model, version, is_chosen: deployed.append((model, version, is_chosen)),
    )
    done = run("train", "--dataset", "iris", "--deploy")
    assert done.exit_code == code, done.output
    assert deployed == ([("iris", "7", False)] if trained else [])
    assert ("not deployed" in done.stderr) is (trained is None)
    assert run("train", "--dataset", "iris").exit_code == 0
    assert len(deployed) == bool(trained)


def test_a_training_that_could_not_be_deployed_is_not_begun(host: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    without = host.model_copy(update={"airflow_password": None})
    monkeypatch.setattr(training, "load_host_settings", lambda: without)
    monkeypatch.setattr(training, "_run", lambda *_, deploy: pytest.fail("trained"))
    done = run("train", "--dataset", "iris", "--deploy")
    assert done.exit_code == 1
    assert "found no address or no password of Airflow" in done.stderr


@pytest.mark.parametrize(
    ("options", "expected"), [([], None), (["--train"], False), (["--deploy"], True), (["--train", "--deploy"], True)]
)
def test_an_added_dataset_is_trained_and_deployed_if_asked_for(
    host: Settings, tmp_path: Path, options: list[str], expected: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, bool]] = []
    monkeypatch.setattr(datasets, "train_once", lambda _, params, *, deploy: begun.append((params["dataset"], deploy)))
    file = tmp_path / "flats.csv"
    file.write_text("size,price\n" + "".join(f"{n % 90 + 20},{n * 3.5 + 40}\n" for n in range(200)))
    done = run("dataset", "add", str(file), "--target", "price", *options)
    assert done.exit_code == 0, done.output
    assert begun == ([] if expected is None else [("flats", expected)])
    assert ("Then: mlops train --dataset flats --deploy" in done.stdout) is (expected is None)
