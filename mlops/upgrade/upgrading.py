"""An upgrade: each step in its order, and the way back to the version of before where one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mlops.backup.making import locate_dump, make_backup
from mlops.backup.site import Site
from mlops.errors import UpgradeError
from mlops.host import BackupTarget
from mlops.upgrade.before import Before, forget_before, read_before, read_schemas
from mlops.upgrade.checkout import Checkout
from mlops.upgrade.stack import UpgradedStack

FAILURES = (Exception, KeyboardInterrupt)
"""After any of these an upgrade goes back; a signal that requests an end is a KeyboardInterrupt."""

type Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One upgrade of a stack to the version of its checkout.

    `try_loop` raises an error where the loop does not work; `find_versions` reads the libraries that run.
    """

    site: Site
    target: BackupTarget
    checkout: Checkout
    stack: UpgradedStack
    find_versions: Callable[[], dict[str, str]]
    try_loop: Callable[[], None]
    report: Report

    def run(self, old: str, files: tuple[str, ...]) -> None:
        """Takes the stack from a commit to that of the checkout.

        Raises:
            UpgradeError: a step failed, and the version of before runs again.
        """
        new = self.checkout.read_commit()
        self.stack.project.files = files
        images = self.stack.tag_images()
        running = self.stack.list_running()
        before = Before(old, new, files, images, read_schemas(self.site.postgres), containers=running)
        before.write(self.checkout.folder)
        try:
            self._advance(before)
        except FAILURES as error:
            reason = "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            self.report(f"FAILED: {reason}")
            try:
                self.go_back()
            except FAILURES as second:
                raise UpgradeError(
                    f"upgrade to {self.checkout.describe(new)}: expected each step to succeed, found: {reason}. The "
                    f"way back failed too: {second}; remove the cause, then run `mlops upgrade --back`"
                ) from error
            raise UpgradeError(
                f"upgrade to {self.checkout.describe(new)}: expected each step to succeed, found: {reason}. "
                f"{self.checkout.describe(old)} runs again, and the checkout is at it; `git checkout` goes to another"
            ) from error
        forget_before(self.checkout.folder)
        self.stack.untag_images(images)

    def go_back(self) -> str:
        """Makes the version of before run again, with its databases where they were migrated; may be repeated.

        From its middle on the checkout, and with it what Python imports, is that of the version which this returns.

        Raises:
            UpgradeError: no upgrade was begun.
            EngineError: Docker or git refuses; `mlops upgrade --back` goes on.
            BackupError: a database cannot be restored; the same.
        """
        before = read_before(self.checkout.folder)
        if before is None:
            raise UpgradeError("upgrade: expected one that did not end, found none; there is nothing to undo")
        project = self.stack.project
        project.files, project.commit = before.files, before.commit
        if before.set_folder:
            self.report("back: end the programs of the new version, because they may still migrate")
            self.stack.stop_writers()
        self.report(f"back: the files of {self.checkout.describe(before.commit)}, and its images")
        if self.checkout.read_commit() != before.commit:
            self.checkout.switch(before.commit)
        self.stack.put_images_back(before.images)
        # Without a set nothing was stopped yet, or nothing but programs that start again.
        if before.set_folder:
            self._restore(before, Path(before.set_folder))
        self.report("back: programs, replicas and gateway, where they are not those of before")
        stale = self.stack.find_stale(self.checkout.list_changed_files(before.commit, before.new))
        self.stack.start(stale, before.containers)
        forget_before(self.checkout.folder)
        self.stack.untag_images(before.images)
        return self.checkout.describe(before.commit)

    def _advance(self, before: Before) -> None:
        self.stack.project.commit, versions = before.new, self.find_versions()
        self.report("images: build, and check the settings")
        self.stack.build()
        self.report("Airflow and MLflow: stop, so that nothing is written; the replicas answer")
        self.stack.stop_writers()
        self.report(f"backup into {self.target.folder}")
        folder = make_backup(self.site, self.target, _ignore, versions=versions)
        before = replace(before, set_folder=str(folder))
        before.write(self.checkout.folder)
        self.report("databases: migrate; then programs, one replica after the other, and the gateway")
        self.stack.start(self.stack.find_stale(self.checkout.list_changed_files(before.commit, before.new)))
        self.report("loop: train, gate, deploy, predict")
        self.try_loop()

    def _restore(self, before: Before, folder: Path) -> None:
        """Puts the databases back that were migrated; objects stay, because rows name them by their content."""
        self.stack.open_database()
        found = read_schemas(self.site.postgres)
        for database in (name for name, schema in before.schemas.items() if found[name] != schema):
            self.report(f"back: database {database}, from {folder.name}")
            self.site.postgres.replace(database, folder / locate_dump(database))


def _ignore(_: str) -> None:
    """The parts of a backup are no steps of an upgrade."""
