"""What a rollout believes of a version whose tags anybody with MLflow's password may write."""

from __future__ import annotations

import pytest

from ml_code.gate.decision import Decision
from ml_code.signature import APPROVED, SIGNED, UNSIGNED, Signer
from serving.errors import BreachError, NoCandidateError, NothingNewError
from serving.rollout import steps
from serving.rollout.approval import approve, describe_gate, needs_approval, sign_gate
from serving.rollout.plan import choose_version, open_rollout
from serving.rollout.rollback import roll_back
from tests.unit.serving.rollout_fakes import Table, judge, set_table

SIGNER = Signer(b"key of the gate")


def set_signed_table() -> Table:
    """Three versions: 1 serves and is older than signatures, 2 is signed, and 3 only says that it has passed."""
    table = set_table("3", champion="1")
    table.registry.signer = SIGNER
    sign(table, "2")
    return table


def sign(table: Table, version: str, **changes: str) -> None:
    tags = table.registry.tags[version]
    tags[SIGNED] = SIGNER.sign_version("iris", version, tags | changes)


def test_only_a_signed_version_is_rolled_out_automatically() -> None:
    assert choose_version(set_signed_table().control(), "iris").target == "2"


def test_without_a_signed_version_there_is_nothing_to_roll_out() -> None:
    table = set_table("3")
    table.registry.signer = SIGNER
    with pytest.raises(NoCandidateError, match="the gate's signature, expected one; train one by `mlops train`"):
        choose_version(table.control(), "iris")


def test_an_altered_version_is_refused_even_by_its_number() -> None:
    table = set_signed_table()
    table.registry.tags["2"]["sha256"] = "0" * 64
    with pytest.raises(NoCandidateError, match=r"mlops train`, or `mlops promote iris 2`"):
        choose_version(table.control(), "iris", "2")


def test_a_signed_version_is_promoted() -> None:
    table = set_signed_table()
    row = open_rollout(table.control(), "iris")
    steps.start_canary(table.control(), row.rollout_id)
    judge(table.control(), row.rollout_id)
    steps.promote(table.control(), row.rollout_id)
    assert table.registry.aliases["champion"] == "2"


def test_a_version_that_was_altered_during_its_canary_is_not_promoted() -> None:
    table = set_signed_table()
    row = open_rollout(table.control(), "iris")
    steps.start_canary(table.control(), row.rollout_id)
    table.registry.tags["2"]["sha256"] = "0" * 64
    with pytest.raises(BreachError, match="not signed: found gate=forged"):
        steps.promote(table.control(), row.rollout_id)
    assert table.registry.aliases["champion"] == "1"
    assert table.rows.read(row.rollout_id).state == "aborted"


def test_an_unsigned_version_needs_a_person_who_then_signs_it() -> None:
    table = set_signed_table()
    control = table.control()
    row = open_rollout(control, "iris", "3")
    judge(control, row.rollout_id)
    assert needs_approval(control, row.rollout_id)
    approve(control, row.rollout_id, "ada")
    assert SIGNER.read_gate("iris", "3", table.registry.tags["3"]) == "passed"
    steps.promote(control, row.rollout_id)
    assert table.registry.aliases["champion"] == "3"


@pytest.mark.parametrize(("version", "is_told"), [("2", False), ("3", True)])
def test_the_person_is_told_that_the_gate_did_not_sign_what_they_see(version: str, is_told: bool) -> None:
    table = set_signed_table()
    decision = Decision("iris", "promote", "0.99 >= 0.9", "accuracy", 0.99, 0.9, 53, "manual")
    table.registry.tags[version]["gate.decision"] = decision.to_json()
    if version == "2":
        sign(table, version)
    control = table.control()
    row = open_rollout(control, "iris", version)
    with control.hold(row.rollout_id) as held:
        sign_gate(held, UNSIGNED if is_told else "passed")  # as the validation does
    assert needs_approval(control, row.rollout_id) == is_told
    shown = "\n".join(describe_gate(table.registry.read_tags("iris", version) or {}))
    assert ("Not signed by the gate" in shown) == is_told
    assert "0.99" in shown


def test_an_unsigned_version_is_not_promoted_without_the_person() -> None:
    table = set_signed_table()
    row = open_rollout(table.control(), "iris", "3")
    with pytest.raises(BreachError, match=f"not signed: found gate={UNSIGNED}"):
        steps.promote(table.control(), row.rollout_id)


def test_the_approval_is_of_the_file_that_was_validated() -> None:
    table = set_signed_table()
    row = open_rollout(table.control(), "iris", "3")
    sign(table, "3", gate=UNSIGNED)  # as its validation does
    table.registry.tags["3"]["sha256"] = "0" * 64
    approve(table.control(), row.rollout_id, "ada")
    with pytest.raises(BreachError, match="not signed: found gate=forged"):
        steps.promote(table.control(), row.rollout_id)


def test_who_deletes_the_tag_of_a_rollback_does_not_bring_the_version_back() -> None:
    table = set_table("4", champion="4", previous="3")
    roll_back(table.control("ada@lab"), "iris", "wrong")
    del table.registry.tags["4"]["rolled_back"]
    with pytest.raises(NothingNewError, match="version 3 serving already"):
        choose_version(table.control(), "iris")
    assert choose_version(table.control(), "iris", "4").target == "4"


def open_forced(version: str = "2") -> tuple[Table, int]:
    """A rollout of a signed version whose form forced it past the gate."""
    table = set_signed_table()
    decision = Decision("iris", "promote", "forced", "accuracy", 0.5, 0.85, 53, "manual", forced_by="bob")
    table.registry.tags[version]["gate.decision"] = decision.to_json()
    sign(table, version)
    return table, open_rollout(table.control(), "iris", version).rollout_id


def test_an_approval_that_a_person_signed_is_not_asked_for_again() -> None:
    table, number = open_forced()
    assert needs_approval(table.control(), number)
    approve(table.control(), number, "ada")
    assert not needs_approval(table.control(), number)


def test_a_name_that_somebody_wrote_into_mlflow_approves_nothing() -> None:
    table, number = open_forced()
    table.registry.tags["2"]["approved_by"] = "ada"
    assert needs_approval(table.control(), number)


def test_an_approval_is_not_carried_to_another_version() -> None:
    table, number = open_forced()
    approve(table.control(), number, "ada")
    of_another = {name: table.registry.tags["2"][name] for name in ("approved_by", APPROVED)}
    table, number = open_forced("3")
    table.registry.tags["3"] |= of_another
    assert needs_approval(table.control(), number)
