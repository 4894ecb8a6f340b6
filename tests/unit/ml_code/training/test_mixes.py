"""Which rows a mix trains on, what they weigh, and that the weights reach every family."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml_code.data.holdout import split_holdout
from ml_code.data.live_rows import LIVE_ID, PREDICTED_AT
from ml_code.families import FAMILIES, find_family
from ml_code.training.fitting import fit_pipeline
from ml_code.training.mixes import list_mixes, mix_rows, narrow_to_newest
from ml_code.training.plans import Mix
from tests.unit.ml_code.passengers import make_dataset, make_typed_rows

SINCE = 1000.0


def make_mixed(old: int = 1000, new: int = 600) -> pd.DataFrame:
    """Old rows, among them live ones from before the change, and new rows whose outcomes are turned round."""
    rows = make_typed_rows(rows=old + new)
    is_new = np.arange(old + new) >= old
    rows[LIVE_ID] = [f"{number}-0" if number >= old // 2 else None for number in range(old + new)]
    rows[PREDICTED_AT] = np.where(is_new, SINCE, np.where(rows[LIVE_ID].notna(), SINCE - 1, np.nan))
    turned = rows["outcome"].map({"alive": "dead", "dead": "alive"})
    return rows.assign(outcome=rows["outcome"].where(~is_new, turned))


def test_without_a_mix_all_rows_weigh_the_same() -> None:
    rows = make_mixed()
    assert [mix_rows(rows, mix).weights for mix in (None, Mix("all", SINCE))] == [None, None]
    assert len(mix_rows(rows, Mix("all", SINCE)).rows) == 1600


def test_new_rows_weigh_as_much_as_all_older_ones() -> None:
    mixed = mix_rows(make_mixed(old=1000, new=250), Mix("balanced", SINCE))
    assert mixed.weights is not None
    assert mixed.weights[1000:].sum() == pytest.approx(mixed.weights[:1000].sum()) == pytest.approx(1000.0)


def test_new_rows_never_weigh_less_than_old_ones() -> None:
    mixed = mix_rows(make_mixed(old=200, new=800), Mix("balanced", SINCE))
    assert mixed.weights is not None
    assert set(mixed.weights) == {1.0}


def test_a_model_of_new_rows_only_sees_no_row_from_before_the_change() -> None:
    rows = mix_rows(make_mixed(), Mix("newest", SINCE)).rows
    assert len(rows) == 600
    assert rows[PREDICTED_AT].eq(SINCE).all()


def test_what_live_rows_will_be_like_is_the_rows_since_the_change() -> None:
    split = split_holdout(make_dataset(), make_mixed())
    found = narrow_to_newest(split, Mix("balanced", SINCE))
    assert len(found.train) + len(found.holdout) == 600
    assert found.train[PREDICTED_AT].eq(SINCE).all()
    assert found.holdout[PREDICTED_AT].eq(SINCE).all()
    assert narrow_to_newest(split, None) is split


def test_without_rows_since_the_change_all_rows_are_what_live_ones_will_be_like() -> None:
    """Such as after their token was dropped."""
    split = split_holdout(make_dataset(), make_mixed(new=0))
    assert narrow_to_newest(split, Mix("all", SINCE)) is split


def test_new_rows_only_need_five_hundred_of_them_and_every_class() -> None:
    dataset = make_dataset()
    rows = make_mixed(new=600)
    assert list_mixes(dataset, rows, SINCE) == ["all", "balanced", "newest"]
    assert list_mixes(dataset, make_mixed(new=499), SINCE) == ["all", "balanced"]
    lacking = rows[~(rows[PREDICTED_AT].eq(SINCE) & rows["outcome"].eq("alive"))]
    assert list_mixes(dataset, lacking, SINCE) == ["all", "balanced"]


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_turn_every_family_towards_the_new_rows(name: str) -> None:
    dataset, (model_type, estimator) = make_dataset(), FAMILIES[name]
    family = find_family(model_type, estimator, "classification")
    rows = make_mixed(old=1000, new=200)
    weights = np.where(np.arange(1200) >= 1000, 100.0, 1.0)
    fresh = rows.iloc[1000:]
    plain, weighed = (
        fit_pipeline(dataset, rows, family, {"n_estimators": 5} if name != "linear" else {}, weights=given)
        for given in (None, weights)
    )
    assert np.mean(weighed.predict(fresh) != plain.predict(fresh)) > 0.2
