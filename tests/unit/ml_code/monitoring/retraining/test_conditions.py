"""When a retraining may begin, and what it says while it may not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ml_code.drift_rules import DriftRules
from ml_code.monitoring.retraining.attempts import Attempt
from ml_code.monitoring.retraining.conditions import Situation, count_needed, find_obstacle

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LAST = Attempt(
    retraining_id=1,
    model="iris",
    owner="model_retraining/run",
    asked_at=NOW - timedelta(hours=25),
    cause="drift",
    reason="drift",
    since=NOW - timedelta(days=3),
    until=NOW - timedelta(days=1),
    labels=300,
    rows_file=None,
    outcome="promoted",
    version="4",
    verdict=None,
    ended_at=NOW - timedelta(hours=24),
)


def ask(last: Attempt | None = None, **known: Any) -> str | None:
    known = {"labels": 200, "by_class": {"0": 100, "1": 80, "2": 20}, **known}
    return find_obstacle(DriftRules(), Situation(last=last, **known), NOW)


def test_a_first_retraining_begins_with_enough_labels_of_each_class() -> None:
    assert ask() is None


def test_a_regression_has_no_classes() -> None:
    assert ask(by_class={}) is None


def test_missing_labels_are_counted_in_words() -> None:
    assert ask(labels=150, by_class={"0": 145, "1": 5, "2": 0}) == (
        "found 150 new labels, expected 200 and 20 of each class: missing 50 labels, 15 of the class 1, "
        "20 of the class 2; send them to /feedback"
    )


@pytest.mark.parametrize(("labels", "begins"), [(199, False), (200, True)])
def test_the_last_missing_label_begins_it(labels: int, *, begins: bool) -> None:
    assert (ask(labels=labels) is None) == begins


@pytest.mark.parametrize(("hours", "begins"), [(23.9, False), (24, True)])
def test_a_day_passes_between_two_attempts(hours: float, *, begins: bool) -> None:
    assert (ask(replace(LAST, asked_at=NOW - timedelta(hours=hours))) is None) == begins


@pytest.mark.parametrize(("labels", "begins"), [(599, False), (600, True)])
def test_a_rejected_attempt_needs_twice_its_labels(labels: int, *, begins: bool) -> None:
    found = ask(replace(LAST, outcome="rejected"), labels=labels)
    assert (found is None) == begins
    assert begins or "expected 600 (twice those of the rejected attempt)" in str(found)


def test_a_failed_attempt_needs_no_more_labels_than_the_first() -> None:
    assert count_needed(DriftRules(), replace(LAST, outcome="failed")) == 200


def test_data_with_faults_is_never_learned_however_many_labels_there_are() -> None:
    assert "must not learn them" in str(ask(labels=10_000, faults=["size is outside of its range in 90 %"]))


def test_a_feature_that_is_not_logged_cannot_be_learned_from_the_log() -> None:
    assert "leaves out age" in str(ask(unlogged=["age"]))


def test_it_waits_for_whatever_else_is_under_way() -> None:
    assert ask(busy="a rollout of version 4 is under way") == (
        "a rollout of version 4 is under way; the next window asks again"
    )


def test_it_waits_for_a_person_who_has_not_decided() -> None:
    held = replace(LAST, outcome="held", ended_at=None)
    assert ask(held) == "version 4 waits for a person: `mlops deploy iris 4`"


def test_two_attempts_are_never_under_way() -> None:
    assert ask(replace(LAST, outcome=None, ended_at=None)) == "another retraining of it is under way"
