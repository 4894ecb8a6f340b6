"""The connections that docs/budgets.md lists fit into Postgres, and are those of the settings."""

from __future__ import annotations

import configparser
import re

from tests.repo.repository import ROOT, read_compose

PAGE = (ROOT / "docs/budgets.md").read_text()
SECTION = PAGE.partition("## Connections of Postgres")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (.+?) \| (\d+)[^|]* \| (\d+) \| (\d+) \|$", SECTION, re.MULTILINE)


def find_row(start: str) -> tuple[int, int]:
    """Connections of one and how many at once, of the row that begins so."""
    [(_, one, count, _)] = [row for row in ROWS if row[0].startswith(start)]
    return int(one), int(count)


def test_each_line_and_the_whole_table_add_up_to_less_than_postgres_takes() -> None:
    assert len(ROWS) == 9
    for who, one, count, total in ROWS:
        assert int(one) * int(count) == int(total), who
    whole = sum(int(total) for *_, total in ROWS)
    assert f"The sum is {whole}." in SECTION
    limits = re.findall(r"max_connections=(\d+)", (ROOT / "docker-compose.yaml").read_text())
    limits += re.findall(r"max_connections=(\d+)", (ROOT / "mlops/local/services.py").read_text())
    assert limits == [limits[0]] * 2
    assert f"## Connections of Postgres: {limits[0]} (" in PAGE
    assert whole <= int(limits[0])


def test_airflows_lines_are_those_of_its_pool() -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "docker/airflow/airflow.cfg")
    pool = settings["database"]
    of_one = pool.getint("sql_alchemy_pool_size") + pool.getint("sql_alchemy_max_overflow")
    assert find_row("Airflow's API server") == (of_one, 3 * settings.getint("api", "workers"))
    assert find_row("Airflow's scheduler") == (of_one, 3)


def test_the_tasks_are_as_many_as_run_at_once() -> None:
    default = read_compose()["x-airflow-environment"]["AIRFLOW__CORE__PARALLELISM"]
    assert default == f"${{AIRFLOW_PARALLELISM:-{find_row('tasks on the warehouse')[1]}}}"
