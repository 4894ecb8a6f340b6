"""Names in a replica's `/metrics` that a rollout reads: both sides must spell them alike."""

from __future__ import annotations

LABELS = ("model", "version", "variant", "traffic")

LIVE = "live"
"""Traffic of clients."""

REPLAY = "replay"
"""Traffic that a rollout sends to have something to compare; it does not count as clients' traffic."""
