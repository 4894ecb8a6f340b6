"""No page, window or LIMIT is taken for the whole: each bound on a look-up is listed here, with what is behind it."""

from __future__ import annotations

import re

import pytest

from tests.repo.repository import ROOT, find_files

BOUND = re.compile(
    r"max_results|max_keys|maxkeys|(?<!SC_)(?<!get)page_?size|pagenumber|page_token|(?-i:\bLIMIT [%\d]|\bFETCH FIRST)|"
    r"[\"']limit[\"']\s*:|\blimit: int|\blimit=\d|per_page|numOfRows|search_runs|search_model_versions|"
    r"search_experiments|search_registered|get_latest_versions|list_objects_v|\.limit\(|islice\(",
    re.IGNORECASE,
)
"""What a bounded look-up looks like: MLflow, S3, Airflow's API, SQL."""

BEHIND = {
    # Pages that are read to the last one.
    "ml_code/tracking/runs.py": "`read_pages` reads on; a key names one run",
    "ml_code/tracking/versions.py": "`read_pages` reads on",
    "ml_code/tracking/upkeep.py": "`read_pages` reads on",
    "serving/registry/reader.py": "`read_models` reads on while MLflow names a next page",
    "serving/registry/writer.py": "`_search_versions` reads on while MLflow names a next page",
    "mlops/airflow_api.py": "`_read_pages` reads on up to `total_entries`",
    "ml_code/storage.py": "a paginator reads every page",
    "plugins/s3_objects.py": "a paginator reads every page",
    "ml_code/etl/kma_api.py": "reads on up to the response's totalCount",
    # Questions that have one row as their answer.
    "serving/rollout/promotion_log.py": "`_find`: the newest row of those that the condition means",
    "serving/rollout/rows.py": "`find_rollback`: the newest one of an owner",
    "ml_code/monitoring/quality/history.py": "older windows: the caller says how many of the newest it judges",
    "ml_code/monitoring/drift/history.py": "older windows, which do not count for an alarm",
    "ml_code/monitoring/staleness/served.py": "versions that served before the last five: each costs a download",
    "ml_code/monitoring/retraining/attempts.py": "`read_last`: the newest attempt, by which the next one is judged",
    "ml_code/monitoring/status.py": "the start page draws the newest windows; one row is the last attempt",
    "ml_code/housekeeping/needed.py": "older moves of a champion, whose versions may go",
    "ml_code/monitoring/retraining/trigger.py": "the newest window alone tells whether the data has faults now",
    # Not a look-up.
    "ml_code/etl/employees.py": "some examples of repeated rows, for a message",
    "serving/rollout/canary.py": "rows for a replay, from a source without end",
    "docker/airflow/buckets.py": "whether a key may list a bucket",
    "docker/mlflow/healthcheck.py": "whether the server answers",
    "mlops/local/services.py": "whether the server answers",
}
"""What happens to the entries behind each bound, by file."""

SOURCES = find_files(
    "ml_code/**/*.py", "serving/**/*.py", "mlops/**/*.py", "dags/**/*.py", "plugins/**/*.py", "docker/**/*.py"
)


def list_bounds() -> dict[str, list[str]]:
    """The lines of code with a bound, by file."""
    found = {
        str(file.relative_to(ROOT)): [line.strip() for line in file.read_text().splitlines() if BOUND.search(line)]
        for file in SOURCES
    }
    return {name: lines for name, lines in found.items() if lines}


def test_what_is_behind_the_bound_of_a_look_up_is_known() -> None:
    assert {name: lines for name, lines in list_bounds().items() if name not in BEHIND} == {}
    assert set(BEHIND) - set(list_bounds()) == set()


@pytest.mark.parametrize(
    "line",
    [
        'client.search_runs([experiment], "", max_results=1000)',
        "SELECT * FROM warehouse.rollout ORDER BY rollout_id DESC LIMIT 50",
        'api.get("/dags", params={"limit": 100})',
        "client.list_objects_v2(Bucket=bucket, MaxKeys=1000)",
        "def list_moves(self, model: str, limit: int = 50) -> list[Move]:",
    ],
)
def test_a_bound_is_recognized(line: str) -> None:
    assert BOUND.search(line)
