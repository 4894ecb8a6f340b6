"""Which users of the canary pool get the challenger while a rollout gives it a part of them only."""

from __future__ import annotations

import hashlib


def is_in_share(model: str, version: str, unit: bytes, percent: float) -> bool:
    """Whether a user is among this share of the pool's users; the same in every replica, and for a larger share.

    Not by the gateway's hash, which gave the pool its users: all of them would lie in its first per cents. The salt of
    model and version has other users meet each version first.

    Args:
        model: registered model.
        version: of the challenger.
        unit: the user, or the request where it names none.
        percent: from 0 to 100.
    """
    if percent >= 100:
        return True
    salt = hashlib.sha256(f"{model}/{version}".encode()).digest()
    drawn = int.from_bytes(hashlib.blake2b(unit, digest_size=8, key=salt).digest())
    return drawn * 100 < percent * 2**64
