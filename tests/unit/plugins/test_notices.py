"""The text of a notice; tests/integration/plugins tests its delivery by Airflow."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from airflow.sdk.log import mask_secret

from plugins import notices
from plugins.notices import describe, post_patiently

TI = SimpleNamespace(
    dag_id="etl",
    task_id="load",
    run_id="manual__1",
    map_index=-1,
    try_number=2,
    log_url="http://localhost:8080/dags/etl/runs/manual__1/tasks/load?try_number=2",
)


def test_a_failure_names_task_run_try_error_and_log() -> None:
    text = describe({"ti": TI, "exception": ValueError("3 < 5 & more\nsecond line")}, "failed")
    assert text.splitlines() == [
        "*etl.load* failed",
        "run manual__1, try 2",
        "ValueError: 3 &lt; 5 &amp; more",
        f"<{TI.log_url}|open in Airflow>",
    ]


def test_a_failure_of_a_mapped_task_names_its_index() -> None:
    ti = SimpleNamespace(**{**vars(TI), "map_index": 0})
    assert describe({"ti": ti}, "failed").splitlines()[1] == "run manual__1, map index 0, try 2"


def test_a_success_names_the_run_and_links_to_it() -> None:
    text = describe({"ti": TI, "dag": SimpleNamespace(dag_id="etl"), "run_id": "manual__1"}, "succeeded")
    link = "<http://localhost:8080/dags/etl/runs/manual__1|open in Airflow>"
    assert text.splitlines() == ["*etl* succeeded", "run manual__1", link]


def test_a_success_without_a_task_has_no_link() -> None:
    assert describe({"dag": SimpleNamespace(dag_id="etl"), "run_id": "1"}, "succeeded").splitlines()[-1] == "run 1"


def test_a_notice_masks_what_the_log_masks_even_where_the_line_is_cut() -> None:
    mask_secret("a-password-of-the-house")
    error = ValueError("x" * 290 + "a-password-of-the-house")
    assert describe({"ti": TI, "exception": error}, "failed").splitlines()[2] == f"ValueError: {'x' * 290}***"


@pytest.mark.parametrize(
    ("answers", "problem", "posts"),
    [
        (["200"], "", 1),
        (["500", "200"], "", 2),
        (["429", "URLError", "200"], "", 3),
        (["503", "503", "503", "200"], "503", 3),
        (["404", "200"], "404", 1),
        (["TimeoutError", "200"], "TimeoutError", 1),
    ],
)
def test_a_notice_is_sent_again_only_if_slack_did_not_take_it(
    answers: list[str], problem: str, posts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "PAUSES_SECONDS", (0, 0))
    left = iter(answers)
    assert post_patiently(lambda: next(left)) == problem
    assert len(answers) - len(list(left)) == posts


def test_a_notice_that_nobody_answers_is_not_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "LONGEST_SECONDS", 0.05)
    posts: list[int] = []
    is_over = threading.Event()

    def post() -> str:
        posts.append(1)
        is_over.wait(60)
        return "200"

    assert post_patiently(post) == "no answer in 0.05 s"
    is_over.set()
    assert len(posts) == 1
