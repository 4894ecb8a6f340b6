"""Names in a replica's `/metrics` that a rollout reads: what both sides must spell alike."""

from __future__ import annotations

LABELS = ("model", "version", "variant", "traffic")

LIVE = "live"
"""Traffic of people."""

REPLAY = "replay"
"""Traffic that a rollout sends to have something to compare; it counts for nothing that is about users."""
