"""Breaks the product in one line at a time, and reports which test notices: `make mutants`.

    python -m tests.mutants             every mutant
    python -m tests.mutants gate        those of tests/mutants/gate.toml
    python -m tests.mutants gate/drift-need-not-win

Each mutant is applied to a copy of the tree, where its tests run until one fails. The exit code is 1 if a mutant
survives that is not known to, or if fewer than nine of ten die.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.catalog import ROOT, Mutant, load_mutants
from tests.mutants.forks import Runner, run_runner

WORKERS = 2
TEST_SECONDS = 180
"""A mutant that makes its tests hang longer is noticed."""

DEADLY_SHARE = 0.9


def main(wanted: list[str]) -> int:
    """Runs the mutants of the names that were given, and returns the exit code."""
    mutants = [mutant for mutant in load_mutants() if not wanted or {mutant.name, mutant.group} & set(wanted)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-"))
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(WORKERS):
            tree = copy_tree(Path(folder) / str(number))
            copies.put(Copy(tree, stack.enter_context(run_runner(tree))))
        healthy = copies.get()
        if failure := healthy.run_tests(sorted({test for mutant in mutants for test in mutant.tests})):
            print(f"The tests fail without a mutant: {failure}")
            return 1
        copies.put(healthy)
        started = time.monotonic()

        def judge(mutant: Mutant) -> bool:
            copy = copies.get()
            killer = copy.kill(mutant)
            copies.put(copy)
            outcome = "died    " if killer else "SURVIVED"
            print(f"{outcome} {mutant.name}: {killer or mutant.survives or mutant.what}\n", end="", flush=True)
            return bool(killer)

        pool = stack.enter_context(ThreadPoolExecutor(WORKERS))
        died = list(pool.map(judge, mutants))
    print(f"{sum(died)} of {len(died)} died in {(time.monotonic() - started) / 60:.1f} minutes")
    has_unknown = any(not is_dead and not mutant.survives for mutant, is_dead in zip(mutants, died, strict=True))
    return int(has_unknown or sum(died) < DEADLY_SHARE * len(died))


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the tree, and what runs tests in it: its packages come before the installed ones."""

    folder: Path
    runner: Runner

    def kill(self, mutant: Mutant) -> str | None:
        """Applies a mutant, and returns the test that fails; None if all pass."""
        file = self.folder / mutant.file
        healthy = file.read_text()
        file.write_text(mutant.apply(healthy))
        try:
            return self.run_tests(mutant.tests)
        finally:
            file.write_text(healthy)

    def run_tests(self, tests: Sequence[str]) -> str | None:
        """Runs tests until one fails, and returns that."""
        done = self.runner.run(tests, TEST_SECONDS * 5)
        if done.code is None:
            return "its tests do not end"
        if done.code == 0:
            return None
        failed = [line for line in done.output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0].partition(" - ")[0].partition(" ")[2] if failed else done.output[-300:]


def copy_tree(target: Path) -> Path:
    """Copies what git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    # The rules about files ask git which there are.
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)
    subprocess.run(["git", "add", "--all"], cwd=target, check=True)
    return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
