from __future__ import annotations

import html
import re
from dataclasses import replace

from markdown_it import MarkdownIt

from ml_code.datasets import load_dataset
from ml_code.gate.decision import apply_gate
from ml_code.gate.evidence import Evidence, Rival, Slice
from ml_code.gate.model_card import write_card
from tests.unit.ml_code.passengers import make_dataset

TAGS = {"dataset_version": "ab12", "snapshot_uri": "s3://datasets/snapshots/x/ab12.parquet", "holdout_id": "h1"}
PARAMS = {
    "model_type": "sklearn",
    "estimator": "linear",
    "hyperparameters": "{}",
    "seed": "42",
    "train_rows": "700",
    "holdout_rows": "150",
}


def test_a_card_shows_data_metrics_limits_and_decision() -> None:
    dataset = load_dataset("titanic")
    decision = apply_gate("titanic", dataset.gate, Evidence(0.81, 150, Rival(0.6, 0.21, 0.03), 0.79), None)
    metrics = {"accuracy": 0.81, "accuracy_low": 0.74, "accuracy_high": 0.87}
    slices = [Slice("Age", "<= 2", 29, 0.3), *[Slice("Pclass", f"= {score}", 30, score) for score in range(1, 7)]]
    card = write_card(dataset, {**TAGS, "git_commit": "c0ffee"}, PARAMS, metrics, decision, slices=slices)
    for text in (
        "# titanic: linear",
        "version `ab12`",
        "700 rows to train on, 150 held out",
        "| accuracy | 0.81 | 0.74 to 0.87 |",
        "titanic: promoted, 0.81 >= 0.75, the first model.",
        "Warning: weak: 150 holdout rows",
        "| a constant (most frequent class, or mean) | 0.6 |",
        "| a linear model | 0.79 |",
        "| Pclass = 1 | 30 | 1 |",
        "| Pclass = 5 | 30 | 5 |",
        "- `Age` from 0 to 120",
        "- `Sex` one of `female`, `male`",
        "code c0ffee",
    ):
        assert text in card
    for text in ("Age <= 2", "Pclass = 6"):
        assert text not in card


def test_names_and_labels_in_a_card_are_text() -> None:
    odd = ["<img src=x>", "[link](http://x)", "a`b", "**bold** | $x$"]
    checks = {"columns": {odd[3]: {"allowed": ["<b>", "``"]}}}
    dataset = make_dataset(
        numeric=odd[:2], categorical=odd[2:], target="_t_ <i>", checks=checks, description="# A <b>title</b> *\n- item"
    )
    judged = apply_gate("passengers", dataset.gate, Evidence(0.8, 150, Rival(0.5, 0.3, 0.01)), None)
    decision = replace(judged, reason="its class <script> is *new*")
    slices = [Slice(odd[3], "= <u>", 40, 0.5)]
    card = write_card(dataset, {**TAGS, "git_commit": "c0ffee"}, PARAMS, {}, decision, slices=slices)
    page = MarkdownIt().render(card)
    elements = set(re.findall(r"<(\w+)", page))
    assert elements == {"h1", "h2", "p", "ul", "li", "code"}
    shown = html.unescape(re.sub(r"</?code>", "", page))
    for text in (
        *odd,
        "one of <b>, ``",
        "# A <b>title</b> * - item. Predicts _t_ <i>",
        "= <u>",
        "its class <script> is *new*",
    ):
        assert text in shown


def test_a_card_without_an_evaluation_has_no_metrics() -> None:
    dataset = load_dataset("housing")
    decision = apply_gate("housing", dataset.gate, Evidence(0.4, 4000, Rival(0.0, 0.4, 0.01)), None)
    card = write_card(dataset, {**TAGS, "git_commit": "c0ffee"}, PARAMS, {}, decision, slices=[])
    assert "housing: rejected, 0.4 < 0.6" in card
    assert "| r2 |" not in card
