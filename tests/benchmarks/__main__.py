"""Runs every benchmark: `python -m tests.benchmarks`, which is `make bench`."""

from __future__ import annotations

from tests.benchmarks.prediction import main

main()
