"""The lessons run by Airflow itself, on a database of their own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.integration.airflow_home import make_airflow_environment
from tests.integration.airflow_process import run_in_airflow
from tests.servers import PostgresServer

EXAMPLES = Path(__file__).parents[3] / "dags/examples"
# A shell that took this as part of its command would end with 9.
EVIL_NAME = 'Ada"; exit 9; "'
RUNS: dict[str, dict[str, str]] = {
    "basic_dag_example": {},
    "hello_airflow_dag": {},
    "dags_bash_operator": {"name": EVIL_NAME},
    "schedule_manual": {},
    "task_states": {},
}
# A task is in some states for a moment only; the database itself notes each that it passes.
NOTE_EVERY_STATE = """
    CREATE TABLE passed_state (task_id TEXT, state TEXT);
    CREATE FUNCTION note_state() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO passed_state VALUES (NEW.task_id, NEW.state); RETURN NULL; END $$;
    CREATE TRIGGER note_state AFTER UPDATE OF state ON task_instance FOR EACH ROW WHEN (NEW.dag_id = 'task_states')
    EXECUTE FUNCTION note_state();
"""


@dataclass(frozen=True)
class Lessons:
    dsn: str
    described: dict[str, dict[str, Any]]

    def query(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.dsn)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    def list_states(self, dag_id: str) -> dict[str, str]:
        return dict(self.query("SELECT task_id, state FROM task_instance WHERE dag_id = %s", dag_id))

    def read_result(self, dag_id: str, task_id: str) -> Any:
        """What the task returned."""
        statement = "SELECT value FROM xcom WHERE dag_id = %s AND task_id = %s AND key = 'return_value'"
        ((value,),) = self.query(statement, dag_id, task_id)
        return value


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, airflow_template: str) -> Lessons:
    dsn = postgres.create_database("lessons", template=airflow_template)
    with closing(psycopg2.connect(dsn)) as connection, connection:
        connection.cursor().execute(NOTE_EVERY_STATE)
    home = tmp_path_factory.mktemp("airflow_examples")
    environment = make_airflow_environment(home, postgres.sqlalchemy_url("lessons"), EXAMPLES)
    ran = run_in_airflow(environment, "tests.integration.dags.run_examples:run_examples", runs=RUNS)
    return Lessons(dsn, ran.result)


def test_every_lesson_is_paused_until_someone_wants_it(lessons: Lessons) -> None:
    assert not {dag["is_paused_upon_creation"] for dag in lessons.described.values()} & {False}


def test_the_basic_chain_hands_each_result_on(lessons: Lessons) -> None:
    assert lessons.described["basic_dag_example"]["downstream"] == {
        "extract": ["transform"],
        "transform": ["load"],
        "load": [],
    }
    assert lessons.read_result("basic_dag_example", "load") == "the mean is 22.5 degrees"


def test_hello_has_one_task_for_each_word_in_the_order_of_the_sentence(lessons: Lessons) -> None:
    words = len(["hello", "airflow", "from", "the", "mlops", "loop"])
    tasks = [f"print_world_{number}" for number in range(words)]
    followers = [[task] for task in tasks[1:]] + [[]]
    assert lessons.described["hello_airflow_dag"]["downstream"] == dict(zip(tasks, followers, strict=True))
    assert lessons.list_states("hello_airflow_dag") == dict.fromkeys(tasks, "success")


def test_a_bash_command_is_filled_in_when_it_runs(lessons: Lessons) -> None:
    assert lessons.read_result("dags_bash_operator", "show_run") == "dags_bash_operator, try 1"
    assert set(lessons.list_states("dags_bash_operator").values()) == {"success"}


def test_what_a_person_types_is_no_part_of_the_command(lessons: Lessons) -> None:
    assert lessons.read_result("dags_bash_operator", "greet") == f"Hello, {EVIL_NAME}"


def test_the_five_schedules_are_five_timetables(lessons: Lessons) -> None:
    found = {dag_id: dag["timetable"] for dag_id, dag in lessons.described.items() if dag_id.startswith("schedule_")}
    assert found == {
        "schedule_timedelta": "DeltaTriggerTimetable",
        "schedule_cron": "CronTriggerTimetable",
        "schedule_preset": "CronTriggerTimetable",
        "schedule_manual": "NullTimetable",
        "schedule_asset": "AssetTriggeredTimetable",
    }


def test_the_manual_schedule_writes_the_asset_that_starts_another(lessons: Lessons) -> None:
    events = "SELECT asset.name, source_dag_id FROM asset_event JOIN asset ON asset.id = asset_id"
    assert lessons.query(events) == [("schedule_example", "schedule_manual")]
    waiting = "SELECT dag_id FROM dag_schedule_asset_reference JOIN asset ON asset.id = asset_id WHERE name = %s"
    assert lessons.query(waiting, "schedule_example") == [("schedule_asset",)]


def test_task_states_ends_failed_with_every_final_state(lessons: Lessons) -> None:
    assert lessons.query("SELECT state FROM dag_run WHERE dag_id = 'task_states'") == [("failed",)]
    assert lessons.list_states("task_states") == {
        "ends_success": "success",
        "ends_skipped": "skipped",
        "ends_failed": "failed",
        "ends_upstream_failed": "upstream_failed",
        "passes_deferred": "success",
        "passes_up_for_retry": "success",
        "passes_up_for_reschedule": "success",
    }


@pytest.mark.parametrize("state", ["deferred", "up_for_retry", "up_for_reschedule"])
def test_task_states_passes_each_state_that_a_task_is_named_after(lessons: Lessons, state: str) -> None:
    passed = lessons.query("SELECT state FROM passed_state WHERE task_id = %s", f"passes_{state}")
    assert (state,) in passed
