"""Names that replicas tell and a rollout reads, in `/metrics` and `/evidence`: both sides must spell them alike."""

from __future__ import annotations

LABELS = ("model", "version", "variant", "traffic")

LIVE = "live"
"""Traffic of clients."""

ASKED = "asked"
"""Traffic of clients who chose the pool or claimed to be a rollout; it says nothing of what people ask."""

REPLAY = "replay"
"""Traffic that a rollout sends to have something to compare; it does not count as clients' traffic."""

PROBE = "probe"
"""Traffic of the monitoring, which the gateway marks: it is measured, and is neither logged nor compared."""

FULL = "full"
FAILED = "failed"
WITHDRAWN = "withdrawn"
MISFIT = "misfit"
SHADOW_REASONS = (FULL, FAILED, WITHDRAWN, MISFIT)
"""Why a shadow did not predict rows: too many waited, it failed, its time was over, or it reads other features."""

EVIDENCE_PATH = "/evidence"
"""Where a replica shows what drawn requests said of its challenger; the gateway has no such path."""

SENDER = ("address", "user", "requests", "failures", "nan", "slow", "slow_ms", "stable_ms")
"""The numbers of one sender, in this order."""
