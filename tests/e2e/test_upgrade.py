"""`make upgrade` from the version before the newest migration of the warehouse to this one, under requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.workspace import open_workspace
from mlops.host import load_stack_settings
from mlops.upgrade.before import MARKER
from tests.benchmarks.load import LoadReport
from tests.e2e import own_copy
from tests.e2e.airflow import Airflow
from tests.e2e.labels import COLLECT, LOG_SECONDS, answer
from tests.e2e.publishing import Publisher, make_good
from tests.e2e.stack import Stack, docker
from tests.e2e.traffic import Traffic
from tests.waiting import wait_until

pytestmark = pytest.mark.long

FLOWER = [5.1, 3.5, 1.4, 0.2]
RATE = 50
MOST_SECONDS = 60.0
"""Longest time without an answer."""

NEWEST = max(file.name for file in (own_copy.REPOSITORY / "ml_code/migrations").glob("[0-9]*.sql"))
BROKEN = "0999_broken.sql"
MIGRATED = "SELECT max(name) FROM warehouse.schema_version"
SET_ASIDE = "SELECT coalesce(sum(dropped), 0), coalesce(sum(unreadable), 0) FROM warehouse.prediction_collection"
COUNTED = ("promotion_log", "rollout", "prediction_batch")
VENV = Path(sys.executable).parents[1]
USUAL = {"HEALTH_START_INTERVAL": "", "INCOMING_POLL_SECONDS": "30"}
"""Checks and polls are as frequent as for a user: each check costs as much as a start of Python."""
RUN = "from mlops.app import app; app()"


@dataclass
class Site:
    """A clone with the commits of three versions, and the stack that runs one of them.

    `first` lacks the newest migration, `present` is this tree, and `broken` has a further migration that fails.
    """

    stack: Stack
    first: str
    broken: str
    present: str
    reports: dict[str, LoadReport] = field(default_factory=dict)

    def set_up(self) -> None:
        """Starts the first version as make does, which tells the containers their commit; a model answers then."""
        command = ["docker", "compose", "up", "--detach", "--wait", "--build"]
        environment = self._environment | {"GIT_COMMIT": self.first}
        done = subprocess.run(
            command, cwd=self.stack.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        with closing(Publisher(self.stack)) as publisher:
            publisher.serve(publisher.publish(make_good()), seconds=600)

    def start(self, commit: str, *more: str) -> subprocess.Popen[str]:
        """Types `git checkout` and `make upgrade`, in a process group of its own."""
        _git(self.stack.folder, "checkout", "--quiet", commit)
        return self._make("upgrade", *more)

    def upgrade(self, commit: str) -> tuple[int, str]:
        """The same, to its end; its exit code and what it printed."""
        process = self.start(commit)
        said, _ = process.communicate(timeout=3000)
        return process.returncode, said

    def go_back(self) -> str:
        """Types `mlops upgrade --back`."""
        done = subprocess.run(
            [".venv/bin/mlops", "upgrade", "--back"],
            cwd=self.stack.folder, env=self._environment, capture_output=True, text=True, timeout=1500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _make(self, *arguments: str) -> subprocess.Popen[str]:
        # The command is that of the checkout, whose libraries need no second installation.
        command = ["make", "--assume-old=.venv/installed", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(
            command, cwd=self.stack.folder, env=self._environment, text=True, start_new_session=True, **pipes
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name not in self.stack.environment}

    def send(self, name: str) -> Traffic:
        """Requests whose rows carry a name in the prediction log."""
        return Traffic(f"{self.stack.gateway}/predict", rate_per_second=RATE, X_Request_Id=name)

    def read_running(self) -> dict[str, dict[str, str]]:
        """What `mlops version` shows, by part."""
        found = self.stack.mlops("version", "--json", "--env-file", str(self.stack.folder / ".env"))
        assert found.returncode == 0, found.stderr
        return {row["part"]: row for row in json.loads(found.stdout)}

    def count_rows(self) -> dict[str, int]:
        """Rows of the warehouse by table."""
        return {name: int(self.stack.query_warehouse(f"SELECT count(*) FROM warehouse.{name}")) for name in COUNTED}

    def has_new_replica(self, old: Collection[str]) -> bool:
        """Whether a replica answers that is not one of some."""
        state = ("inspect", "--format", "{{.State.Health.Status}}")
        found = [name for name in self.stack.containers("serving") if name not in old]
        return any(docker(*state, name, check=False).stdout.strip() == "healthy" for name in found)

    def collect(self) -> None:
        """Moves what the replicas have logged into the store."""
        with closing(Airflow(self.stack)) as airflow:
            airflow.expect_success(COLLECT, airflow.trigger(COLLECT))

    def read_log(self, since: datetime) -> list[tuple[bytes, str]]:
        """The id of each logged row, and the name of its traffic."""
        workspace = open_workspace(load_stack_settings(self.stack.folder / ".env"))
        log = read_log(workspace, "iris", since, datetime.now(UTC), columns=["request_id", "client_request_id"])
        columns = [[table[name].to_pylist() for name in table.column_names] for table in log.values()]
        return [row for ids, names in columns for row in zip(ids, names, strict=True)]

    def check_rows(self, before: dict[str, int]) -> None:
        """No table of the warehouse has fewer rows; collections and the smoke test may add some."""
        after = self.count_rows()
        assert all(after[name] >= rows for name, rows in before.items()), (before, after)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    own_copy.remove_leftovers()
    folder = tmp_path_factory.mktemp("upgrade") / "clone"
    commits = make_clone(folder)
    name = f"{own_copy.FAMILY}-{os.getpid()}-upgraded"
    own_copy.write_env(folder, name, **USUAL, BACKUP_DIR=str(folder.parent / "backups"))
    site = Site(Stack(folder), *commits)
    try:
        site.set_up()
        yield site
    finally:
        own_copy.remove(name)


def make_clone(folder: Path) -> tuple[str, str, str]:
    """Clones the repository, and checks out the tree before its newest migration; the commits of the three versions."""
    _git(own_copy.REPOSITORY, "clone", "--quiet", "--no-checkout", str(own_copy.REPOSITORY), str(folder))
    added = _git(folder, "log", "--diff-filter=A", "--format=%H", "--", f"ml_code/migrations/{NEWEST}").split()
    assert added, f"expected the commit that added {NEWEST}, found none; run git fetch --unshallow"
    _git(folder, "checkout", "--quiet", "--detach", f"{added[-1]}^")
    own_copy.shorten_canary(folder)
    first = _commit(folder, "Before the newest migration")
    broken, present = commit_present(folder)
    _git(folder, "checkout", "--quiet", "--detach", first)
    write_command(folder)
    return first, broken, present


def commit_present(folder: Path) -> tuple[str, str]:
    """Makes a commit of this tree, and one with a further migration that fails; returns the latter first."""
    _git(folder, "rm", "--quiet", "-r", ".")
    own_copy.copy_files(folder)
    own_copy.shorten_canary(folder)
    present = _commit(folder, "The present tree")
    (folder / "ml_code/migrations" / BROKEN).write_text("SELECT a_function_that_no_warehouse_has();\n")
    return _commit(folder, "A migration that fails"), present


def write_command(folder: Path) -> None:
    """Writes the clone's `mlops`: the code of its folder, which Python looks into first, with the libraries of here."""
    command = folder / ".venv/bin/mlops"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\ncd "{folder}" && exec "{VENV}/bin/python" -c "{RUN}" "$@"\n')
    command.chmod(0o755)


def _commit(folder: Path, subject: str) -> str:
    _git(folder, "add", "--all")
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    _git(folder, *author, "commit", "--quiet", "--no-verify", "-m", subject)
    return _git(folder, "rev-parse", "HEAD").strip()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_first_answers(site: Site) -> None:
    """The version before runs whole: its images, its commit, its migrations; it answers, and nothing is left over."""
    assert site.read_running()["commit"]["runs"] == site.first
    assert site.stack.read_version("iris", FLOWER)
    assert _git(site.stack.folder, "rev-parse", "HEAD").strip() == site.first
    assert not (site.stack.folder / MARKER).exists()
    assert site.stack.query_warehouse(MIGRATED) < NEWEST
    tags = docker("image", "ls", "--format", "{{.Tag}}").stdout.split()
    assert f"{site.stack.environment['IMAGE_TAG']}-before" not in tags


def note(site: Site, name: str, traffic: Traffic, began: float) -> None:
    """Prints what the requests saw; the log has to have as many."""
    report = traffic.report
    site.reports[name] = report
    print(
        f"\n{name}: {time.monotonic() - began:.0f} s, {report.sent} requests, {report.failed} without an answer "
        f"{dict(report.failures)}, longest gap {report.longest_gap_seconds} s, p99 {report.p99_ms} ms, worst "
        f"{report.worst_ms} ms"
    )
    assert report.longest_gap_seconds <= MOST_SECONDS
    assert report.failed <= MOST_SECONDS * RATE


def test_a_migration_that_fails_brings_the_version_before_back(site: Site) -> None:
    before, began = site.count_rows(), time.monotonic()
    with site.send("fails") as traffic:
        code, said = site.upgrade(site.broken)
        print(said)
        assert code != 0
        assert BROKEN in said
    note(site, "fails", traffic, began)
    check_first_answers(site)
    site.check_rows(before)


def test_an_upgrade_that_was_killed_is_undone(site: Site) -> None:
    before, began = site.count_rows(), time.monotonic()
    old = set(site.stack.containers("serving"))
    with site.send("killed") as traffic:
        process = site.start(site.present)
        what = "a replica of the new version answers"
        wait_until(lambda: process.poll() is not None or site.has_new_replica(old), 1200, what, 2)
        os.killpg(process.pid, signal.SIGKILL)
        print(process.communicate()[0])
        assert process.returncode == -signal.SIGKILL
        assert site.stack.query_warehouse(MIGRATED) == NEWEST
        up = subprocess.run(["make", "up"], cwd=site.stack.folder, capture_output=True, text=True, check=False)
        assert up.returncode != 0
        assert "mlops upgrade --back" in up.stderr
        print(site.go_back())
    note(site, "killed", traffic, began)
    check_first_answers(site)
    site.check_rows(before)
    # The old version sets the lines aside that it cannot read: the new one has to find them again.
    site.collect()
    print("dropped, set aside:", site.stack.query_warehouse(SET_ASIDE))


def test_an_upgrade_answers_all_the_time_and_loses_no_row(site: Site) -> None:
    before = site.count_rows()
    began, started = time.monotonic(), datetime.now(UTC) - timedelta(hours=3)
    with site.send("succeeds") as traffic:
        code, said = site.upgrade(site.present)
        print(said)
        assert code == 0
    note(site, "succeeds", traffic, began)
    running = site.read_running()
    assert running["commit"]["runs"] == site.present
    # The command is that of this repository, whose commit is another one than the clone's.
    assert {part for part, row in running.items() if row["differs"]} <= {"commit"}, running
    site.check_rows(before)

    time.sleep(LOG_SECONDS)
    answer(site.stack, [FLOWER])
    site.collect()
    log = site.read_log(started)
    print("dropped, set aside:", site.stack.query_warehouse(SET_ASIDE), f"logged: {len(log)}")
    assert len({request for request, _ in log}) == len(log)
    logged = Counter(name for _, name in log)
    for name, report in site.reports.items():
        print(f"{name}: {report.sent - report.failed} answered, {logged[name]} logged")
        # A request whose connection the gateway lost was answered, and nobody got the answer.
        assert report.sent - report.failed <= logged[name] <= report.sent
