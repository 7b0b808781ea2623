"""A world with a store that is sometimes restored from older copies, while log, lake and partner go on."""

import shutil
import sqlite3
from contextlib import closing
from random import Random

from punchcard.delivery.stages import CompletedAttempt
from punchcard.errors import RetryableError, StorageError
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.log_guard import LogGuard
from punchcard.routing.recovery import LakeReplay
from punchcard.testing.world import OPTIONS, World


class RestoredWorld(World):
    """A world with the guard of log and store, like the product."""

    restores = 0

    def copy_store(self) -> None:
        """Copy the store like an operator while the process runs; then advance to the next second."""
        with (
            closing(sqlite3.connect(self._folder / "store.db")) as source,
            closing(sqlite3.connect(self._folder / "copy.db")) as target,
        ):
            source.backup(target)
        self.pass_time(1.1)

    def put_store_back(self) -> None:
        """End the process, replace the store by the copy, and start the process again."""
        if not (self._folder / "copy.db").exists():
            return
        self.fuse.clear()
        self._lose_memory()
        for suffix in ("", "-wal", "-shm"):
            (self._folder / f"store.db{suffix}").unlink(missing_ok=True)
        shutil.copy(self._folder / "copy.db", self._folder / "store.db")
        self.restores += 1
        self._open()

    def trim_log(self) -> None:
        """Trim everything from the log that the lake holds."""

        def trim() -> None:
            self.log.trim(self.lake().last_position(), records_max=100_000)

        self._guarded(trim)

    def _lead_routing(self) -> None:
        lake = self.lake()
        self.guard = LogGuard(
            store=self.store,
            log=self.log,
            lake=lake,
            clock=self.clock,
            is_private=True,
            landing_seconds=lambda: OPTIONS.unknown_wait_seconds,
            log_place="log.db",
            generation_file=GenerationFile(self._folder / "generation"),
        )
        self.guard.open()
        snapshot = self._snapshot()
        LakeReplay(store=self.store, log=self.log, lake=lake, clock=self.clock, current=lambda: snapshot).run(
            stopping=lambda: False
        )
        super()._lead_routing()

    def _cycle(self, room: int) -> None:
        before = list(self._sent)
        super()._cycle(room)
        claimed = [sent for sent in self._sent if sent not in before]
        if not claimed:
            return
        try:
            self.guard.advance()
        except StorageError:
            self._sent = [sent for sent in self._sent if sent not in claimed]
            not_sent = RetryableError("Nothing was sent.", code="not_sent")
            self._answered += [
                CompletedAttempt(attempt=sent.attempt, result=not_sent, seconds=0.0, fingerprint=sent.fingerprint)
                for sent in claimed
            ]


def copy_and_restore(world: RestoredWorld, chance: Random) -> None:
    """Sometimes copy the store, restore the copy, or trim the log; rarely, so that much happens in between."""
    number = chance.randrange(1_000)
    if number < 8:
        world.copy_store()
    elif number < 22:
        world.put_store_back()
    elif number < 32:
        world.trim_log()
