"""Runs the benchmarks that need no stack: `python -m tests.benchmarks`, which is `make bench`."""

from __future__ import annotations

from tests.benchmarks import dag_import, limit, prediction

dag_import.main()
prediction.main()
limit.main()
