"""A data folder with its log and its lake on a store, for tests of which belong together and which is older."""

import shutil
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from sqlalchemy import delete

from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.opening import describe_place, is_shared, open_event_log
from punchcard.log.port import EventLog, NewRecord
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.log_guard import LogGuard
from punchcard.store.delivery.effects import NewEffect
from punchcard.store.delivery.recoveries import Recovery, newest_recovery
from punchcard.store.engine import Store
from punchcard.store.routing.log_binding import LogBinding, bind, read_binding
from punchcard.store.routing.positions import ROUTING, advance, position_of
from punchcard.store.routing.schema import log_binding
from punchcard.testing.clock import ManualClock
from punchcard.testing.partner.configuration import SLUG

LANDING_SECONDS = 10.0


def record(number: int = 0) -> NewRecord:
    """Return a log record with a number as its time."""
    return NewRecord(received_at=number, write_key="wk", call="track", encoding="identity", body=b"{}", ip="")


def effect(key: str, **changes: object) -> NewEffect:
    """Return an effect of a visit, with some values changed."""
    values: dict[str, object] = {
        "destination": SLUG,
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
    """A data folder with its log and its lake, on a store that others may use too."""

    folder: Path
    store: Store
    clock: ManualClock
    is_private: bool = False
    shared_log_url: str = ""
    opened: list[EventLog] = field(default_factory=list)

    @property
    def log_url(self) -> str:
        """The URL of the log: in the data folder, if it is not shared."""
        return self.shared_log_url or f"sqlite:///{self.folder / 'log.db'}"

    def log(self) -> EventLog:
        """Open the log as another process would."""
        self.opened.append(open_event_log(self.log_url))
        return self.opened[-1]

    def guard(self, log: EventLog | None = None, *, lake: LakeReader | None = None) -> LogGuard:
        """Return a guard that has not checked anything yet."""
        return LogGuard(
            store=self.store,
            log=log or self.log(),
            lake=lake or LakeReader(str(self.folder / "lake")),
            clock=self.clock,
            is_private=self.is_private,
            landing_seconds=lambda: LANDING_SECONDS,
            log_place=describe_place(self.log_url),
            is_shared=is_shared(self.log_url),
            generation_file=GenerationFile(self.folder / "generation"),
        )

    def start(self) -> LogGuard:
        """Start a process."""
        guard = self.guard()
        guard.open()
        return guard

    def append(self, count: int) -> int:
        """Append new records; return the last position."""
        return self.log().append([record(number) for number in range(count)])[-1]

    def route(self, to: int) -> None:
        """Advance routing to a position."""
        with self.store.unit_of_work() as work:
            assert advance(work, ROUTING, expected=position_of(work, ROUTING), to=to)

    def fill_lake(self, through: int) -> None:
        """Advance the lake to a position, without rows."""
        writer = LakeWriter(str(self.folder / "lake"), clock=self.clock)
        writer.append(LakeRows(), first_position=writer.last_position() + 1, last_position=through)

    def close_logs(self) -> None:
        """End every process."""
        while self.opened:
            self.opened.pop().close()

    def copy_to(self, folder: Path) -> "Installation":
        """Copy the data folder to another machine, on the same store."""
        self.close_logs()
        shutil.copytree(self.folder, folder)
        return Installation(folder, self.store, self.clock, self.is_private)

    def recovery(self) -> Recovery | None:
        """Return the last detection of an older store."""
        with self.store.reading() as work:
            return newest_recovery(work)

    def binding(self) -> LogBinding:
        """Return the log that the store belongs to."""
        with self.store.reading() as work:
            log_binding_row = read_binding(work)
        assert log_binding_row is not None
        return log_binding_row

    def set_binding(self, binding: LogBinding | None) -> None:
        """Set the binding as in an older copy of the store."""
        with self.store.unit_of_work() as work:
            work.execute(delete(log_binding))
            if binding is not None:
                bind(work, binding, now=self.clock.now())
