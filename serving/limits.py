"""The sizes that a replica takes, of one request and of all under way; docs/budgets.md adds them up."""

from __future__ import annotations

MAX_ROWS = 10_000
MAX_BODY_BYTES = 1_000_000

MAX_PROBABILITIES = 1_000_000
"""Probabilities of one response: ten thousand rows of a hundred classes, which JSON writes in 24 MB."""

LARGE_BYTES = 8_000
"""A larger body is computed in a thread, so that a batch of 10,000 rows does not delay requests of one row."""

LARGE_RESPONSE_BYTES = 64_000
"""A larger response counts among the bytes that a replica holds until its client has read it."""

HELD_BYTES = 32_000_000
"""Bodies and responses of large requests that a replica holds at once."""

LARGE_REQUESTS = 128
"""Large requests under way in a replica: those of one row keep three quarters of the places."""

LARGE_THREADS = 2
"""Large requests that are computed at once: each takes up to 100 MB, mostly Python's objects of a body of 1 MB."""

LOG_ROWS = 20_000
LOG_BYTES = 16_000_000
"""Rows, and bytes of their objects, that wait for the prediction log; what comes beyond is dropped and counted."""

SHADOW_ROWS = 1_000
SHADOW_BYTES = 4_000_000
"""The same of what waits for a shadow's prediction."""

OBJECT_BYTES = 8
"""Bytes of Python's objects for each byte of a body: a number of three characters takes 24, and 8 in its list."""

LONGEST_ANSWER_MS = 8_000.0
"""CPU time of the largest request; with its wait it is over before the replica gives up after ten seconds."""

LONGEST_WAIT_SECONDS = 2.0
"""A large request that waits longer for its turn is refused, so that those which are answered are answered in time."""

LONGEST_READ_SECONDS = 60.0
"""A client that takes longer to read a large response loses its connection: others wait for that room."""
