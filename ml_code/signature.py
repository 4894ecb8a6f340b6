"""The gate's signature under what it decided, so that a tag that somebody else wrote in MLflow decides nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ml_code.settings import Settings

SIGNED = "gate.signed"
"""Tag of a run and of a version: the facts that decide, and their HMAC."""

APPROVED = "approved_by.signed"
"""Tag of a version: who approved it and what, and the HMAC."""

UNSIGNED = "unsigned"
"""Gate of a version that claims to have passed without a signature: only a person can roll it out."""

FORGED = "forged"
"""Gate of a version whose tags are not those that were signed: it is never rolled out."""

CLAIMS = frozenset({"passed", "needs_approval"})

APPROVABLE = CLAIMS | {UNSIGNED}
"""Outcomes of the gate with which a version may be rolled out when it is requested by its number."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs facts with a key that only the tasks and the person at the stack's machine have."""

    key: bytes

    def sign_run(self, run_id: str, tags: Mapping[str, str]) -> str:
        """Returns the signed facts of a run, from its tags."""
        return self._sign(f"run {run_id}", list_facts(tags))

    def sign_version(self, model: str, version: str, tags: Mapping[str, str]) -> str:
        """Returns the signed facts of a version, from its tags; they hold for this version alone."""
        return self._sign(f"version {model}/{version}", list_facts(tags))

    def vouches_for_run(self, run_id: str, tags: Mapping[str, str]) -> bool:
        """Whether these tags of a run are those that were signed."""
        return self._open(f"run {run_id}", tags.get(SIGNED, "")) == list_facts(tags)

    def read_gate(self, model: str, version: str, tags: Mapping[str, str]) -> str | None:
        """The gate's outcome on a version: the signed one, whatever its tag says."""
        claim = tags.get("gate")
        if SIGNED not in tags:
            return UNSIGNED if claim in CLAIMS else claim
        facts = self._open(f"version {model}/{version}", tags[SIGNED])
        if facts is None or facts != list_facts({**tags, "gate": facts["gate"]}):
            return FORGED
        return facts["gate"]

    def sign_approval(self, model: str, version: str, person: str, tags: Mapping[str, str]) -> str:
        """Returns a person's signed approval of a version, from its tags: of this file with this decision alone."""
        return self._sign(f"approval {model}/{version}", {"person": person, **_list_approved(tags)})

    def read_approver(self, model: str, version: str, tags: Mapping[str, str]) -> str | None:
        """Who approved a version as it is; None where nobody did, or nobody signed it."""
        facts = self._open(f"approval {model}/{version}", tags.get(APPROVED, ""))
        if facts is None or {**facts, **_list_approved(tags)} != facts:
            return None
        return facts.get("person")

    def _sign(self, subject: str, facts: dict[str, str]) -> str:
        return json.dumps({"facts": facts, "hmac": self._compute(subject, facts)}, sort_keys=True)

    def _open(self, subject: str, token: str) -> dict[str, str] | None:
        try:
            found = json.loads(token)
            facts, digest = dict(found["facts"]), str(found["hmac"]).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return facts if hmac.compare_digest(digest, self._compute(subject, facts).encode()) else None

    def _compute(self, subject: str, facts: dict[str, str]) -> str:
        text = json.dumps([subject, facts], sort_keys=True)
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()


def list_facts(tags: Mapping[str, str]) -> dict[str, str]:
    """The facts that decide: outcome, file, holdout, and the whole decision by its digest."""
    decision = hashlib.sha256(tags.get("gate.decision", "").encode()).hexdigest()
    return {name: tags.get(name, "") for name in ("gate", "sha256", "holdout_id")} | {"decision": decision}


def _list_approved(tags: Mapping[str, str]) -> dict[str, str]:
    """The facts that a person approves; the approval itself changes the outcome."""
    return {name: fact for name, fact in list_facts(tags).items() if name != "gate"}


def find_signer(settings: Settings) -> Signer | None:
    """Returns the signer of the settings; without a key nothing is signed, so a person must approve the version."""
    if settings.gate_signing_key is None:
        return None
    return Signer(settings.gate_signing_key.get_secret_value().encode())


def is_vouched(settings: Settings, run_id: str, tags: Mapping[str, str]) -> bool:
    """Whether the gate signed the decision on a run and its file; without a key every decision counts."""
    signer = find_signer(settings)
    return signer is None or signer.vouches_for_run(run_id, tags)


def is_forged(settings: Settings, model: str, version: str, tags: Mapping[str, str]) -> bool:
    """Whether a version has other tags than those that were signed; one without a signature is not forged."""
    signer = find_signer(settings)
    return signer is not None and signer.read_gate(model, version, tags) == FORGED


def is_signed(settings: Settings, model: str, version: str, tags: Mapping[str, str]) -> bool:
    """Whether a version's present tags are those that were signed, by the gate or after a person's approval."""
    signer = find_signer(settings)
    return signer is not None and SIGNED in tags and signer.read_gate(model, version, tags) in CLAIMS
