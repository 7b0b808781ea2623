"""A data folder with its log and its lake on a store, for tests of what belongs together and what is older."""

import shutil
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from sqlalchemy import delete

from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.log_guard import LogGuard
from punchcard.store.effects import NewEffect
from punchcard.store.engine import Store
from punchcard.store.log_binding import LogBinding, bind, read_binding
from punchcard.store.positions import ROUTING, advance, position_of
from punchcard.store.recoveries import Recovery, newest_recovery
from punchcard.store.schema import log_binding
from punchcard.testing.clock import ManualClock

LANDING_SECONDS = 10.0


def record(number: int = 0) -> NewRecord:
    """A log record with a number for its time."""
    return NewRecord(received_at=number, write_key="wk", call="track", encoding="identity", body=b"{}", ip="")


def effect(key: str, **changes: object) -> NewEffect:
    """An effect of a visit, with some values changed."""
    values: dict[str, object] = {
        "destination": "perkville",
        "effect_key": key,
        "kind": "transaction",
        "source": "website",
        "message_id": key,
        "event_name": "Checked In",
        "log_position": 1,
        "event_index": 0,
        "received_at": ManualClock().now(),
        "customer": "ann@example.com",
        "email": "ann@example.com",
        "item": "123457",
        "requested_quantity": Decimal(1),
        "attributes": None,
        "order_id": None,
        "is_refund": False,
    }
    return NewEffect(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Installation:
    """A data folder with its log and its lake, on a store that may belong to others too."""

    folder: Path
    store: Store
    clock: ManualClock
    is_private: bool = False
    opened: list[SqliteEventLog] = field(default_factory=list)

    def log(self) -> SqliteEventLog:
        """The log, opened by one more process."""
        self.opened.append(SqliteEventLog(self.folder / "log.db"))
        return self.opened[-1]

    def guard(self, log: SqliteEventLog | None = None) -> LogGuard:
        """A guard that has not looked at anything yet."""
        return LogGuard(
            store=self.store,
            log=log or self.log(),
            lake=LakeReader(str(self.folder / "lake")),
            clock=self.clock,
            is_private=self.is_private,
            landing_seconds=lambda: LANDING_SECONDS,
            log_place=str(self.folder / "log.db"),
            generation_file=GenerationFile(self.folder / "generation"),
        )

    def start(self) -> LogGuard:
        """A process starts."""
        guard = self.guard()
        guard.open()
        return guard

    def append(self, count: int) -> int:
        """The last position of so many new records."""
        return self.log().append([record(number) for number in range(count)])[-1]

    def route(self, to: int) -> None:
        """Routing comes to a position."""
        with self.store.unit_of_work() as work:
            assert advance(work, ROUTING, expected=position_of(work, ROUTING), to=to)

    def fill_lake(self, through: int) -> None:
        """The lake comes to a position, without rows."""
        writer = LakeWriter(str(self.folder / "lake"), clock=self.clock)
        writer.append(LakeRows(), first_position=writer.last_position() + 1, last_position=through)

    def close_logs(self) -> None:
        """Every process ends."""
        while self.opened:
            self.opened.pop().close()

    def copy_to(self, folder: Path) -> "Installation":
        """The data folder on another machine, on the same store."""
        self.close_logs()
        shutil.copytree(self.folder, folder)
        return Installation(folder, self.store, self.clock, self.is_private)

    def recovery(self) -> Recovery | None:
        """The last time that the store was found to be older."""
        with self.store.reading() as work:
            return newest_recovery(work)

    def binding(self) -> LogBinding:
        """The log that the store belongs to."""
        with self.store.reading() as work:
            found = read_binding(work)
        assert found is not None
        return found

    def set_binding(self, binding: LogBinding | None) -> None:
        """The binding as an older copy of the store has it."""
        with self.store.unit_of_work() as work:
            work.execute(delete(log_binding))
            if binding is not None:
                bind(work, binding, now=self.clock.now())
