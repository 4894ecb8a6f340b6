"""The checkout as git has it: which commit it is, what is changed in it, and the way to another commit."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from mlops.errors import EngineError

type Run = Callable[..., subprocess.CompletedProcess[str]]


class Checkout:
    """A clone of the repository.

    >>> Checkout(folder).read_commit()
    '5c9747d0e1...'
    """

    def __init__(self, folder: Path, run: Run = subprocess.run) -> None:
        self.folder = folder
        self._run = run

    def read_commit(self) -> str:
        """The commit of the checkout.

        Raises:
            EngineError: the folder is not a clone.
        """
        return self._git("rev-parse", "HEAD").strip()

    def resolve(self, commit: str) -> str:
        """The digits of a commit: a branch moves, and HEAD~1 is another one after each checkout."""
        return self._git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").strip()

    def describe(self, commit: str) -> str:
        """A commit as people name it: its tag, or a tag and the distance to it, or the first digits."""
        return self._git("describe", "--tags", "--always", commit).strip()

    def has(self, commit: str) -> bool:
        """Whether the clone knows a commit."""
        try:
            self._git("cat-file", "-e", f"{commit}^{{commit}}")
        except EngineError:
            return False
        return True

    def list_changes(self) -> list[str]:
        """The files of git that differ from the commit; files that git does not know do not count."""
        lines = self._git("status", "--porcelain", "--untracked-files=no").splitlines()
        return [line[3:] for line in lines]

    def list_changed_files(self, old: str, new: str) -> list[Path]:
        """The files by which two commits differ."""
        names = self._git("diff", "--name-only", "--no-renames", "-z", old, new).split("\0")
        return [self.folder / name for name in names if name]

    def switch(self, commit: str) -> None:
        """Makes the folder that of another commit; a branch keeps its own.

        Raises:
            EngineError: a changed file is in the way.
        """
        self._git("checkout", "--quiet", "--detach", commit)

    def _git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        try:
            done = self._run(command, cwd=self.folder, capture_output=True, text=True, check=False, errors="replace")
        except FileNotFoundError as error:
            raise EngineError("git: expected the program, found none; install it") from error
        if done.returncode != 0:
            raise EngineError(
                f"{' '.join(command)} in {self.folder}: expected exit code 0, found {done.returncode}: "
                f"{done.stderr.strip()[-300:]}; an upgrade needs a clone of the repository"
            )
        return done.stdout
