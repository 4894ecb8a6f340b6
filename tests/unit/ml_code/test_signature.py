from __future__ import annotations

import pytest

from ml_code.signature import APPROVED, FORGED, SIGNED, UNSIGNED, Signer

SIGNER = Signer(b"key of the gate")
TAGS = {"gate": "passed", "sha256": "a" * 64, "holdout_id": "h1", "gate.decision": '{"outcome": "promote"}'}
RUN = {**TAGS, "gate": "promote"}


def sign(tags: dict[str, str] = TAGS, version: str = "3", signer: Signer = SIGNER) -> dict[str, str]:
    return {**tags, SIGNED: signer.sign_version("iris", version, tags)}


def test_a_signed_outcome_is_believed() -> None:
    assert SIGNER.read_gate("iris", "3", sign()) == "passed"


@pytest.mark.parametrize("claim", ["passed", "needs_approval"])
def test_a_claim_without_a_signature_is_unsigned(claim: str) -> None:
    assert SIGNER.read_gate("iris", "3", {**TAGS, "gate": claim}) == UNSIGNED


@pytest.mark.parametrize("gate", ["rejected", "pending", None])
def test_what_claims_nothing_stays_as_it_is(gate: str | None) -> None:
    assert SIGNER.read_gate("iris", "3", {"gate": gate} if gate else {}) == gate


def test_the_tag_of_the_outcome_alone_changes_nothing() -> None:
    signed = sign({**TAGS, "gate": "needs_approval"})
    assert SIGNER.read_gate("iris", "3", {**signed, "gate": "passed"}) == "needs_approval"


@pytest.mark.parametrize("name", ["sha256", "holdout_id", "gate.decision"])
def test_an_altered_fact_is_forged(name: str) -> None:
    assert SIGNER.read_gate("iris", "3", {**sign(), name: "b" * 64}) == FORGED


def test_a_signature_holds_for_its_version_and_its_key_alone() -> None:
    assert SIGNER.read_gate("iris", "4", sign()) == FORGED
    assert SIGNER.read_gate("titanic", "3", sign()) == FORGED
    assert SIGNER.read_gate("iris", "3", sign(signer=Signer(b"another key"))) == FORGED
    assert SIGNER.read_gate("iris", "3", {**TAGS, SIGNED: SIGNER.sign_run("3", TAGS)}) == FORGED


@pytest.mark.parametrize(
    "token",
    [
        "",
        "{}",
        "[]",
        "passed",
        '{"facts": {"gate": "passed"}, "hmac": "ü"}',
        '{"facts": {}, "hmac": "\\ud800"}',
        "[" * 9000,
    ],
)
def test_what_is_not_a_signature_is_forged(token: str) -> None:
    assert SIGNER.read_gate("iris", "3", {**TAGS, SIGNED: token}) == FORGED


def test_a_run_is_vouched_for_with_the_tags_that_were_signed() -> None:
    token = SIGNER.sign_run("r1", RUN)
    assert SIGNER.vouches_for_run("r1", {**RUN, SIGNED: token})
    assert not SIGNER.vouches_for_run("r2", {**RUN, SIGNED: token})
    assert not SIGNER.vouches_for_run("r1", {**RUN, SIGNED: token, "sha256": "b" * 64})
    assert not SIGNER.vouches_for_run("r1", RUN)


def test_an_approval_is_of_one_file_with_one_decision() -> None:
    approved = {**TAGS, APPROVED: SIGNER.sign_approval("iris", "3", "ada", TAGS)}
    assert SIGNER.read_approver("iris", "3", approved) == "ada"
    assert SIGNER.read_approver("iris", "3", {**approved, "gate": "needs_approval"}) == "ada"
    for name in ("sha256", "holdout_id", "gate.decision"):
        assert SIGNER.read_approver("iris", "3", {**approved, name: "b" * 64}) is None
    assert SIGNER.read_approver("iris", "4", approved) is None
    assert SIGNER.read_approver("iris", "3", {**TAGS, APPROVED: SIGNER.sign_version("iris", "3", TAGS)}) is None
    assert SIGNER.read_approver("iris", "3", {**TAGS, "approved_by": "ada"}) is None
