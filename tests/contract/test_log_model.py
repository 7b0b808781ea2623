"""After any sequence of operations, an event log has the same records as a plain list."""

import tempfile
from pathlib import Path

import zstandard
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from punchcard.log.port import EventLog, NewRecord
from punchcard.log.sqlite import SqliteEventLog, decompress

BODIES = st.lists(st.binary(max_size=20) | st.binary(min_size=600, max_size=700), min_size=1, max_size=70)


def size(body: bytes) -> int:
    """Return the size that the log counts for a body: that of the compressed form, if that is longer."""
    return max(len(body), len(zstandard.compress(body, 1))) if len(body) >= 512 else len(body)


class EventLogMachine(RuleBasedStateMachine):
    """Appends to a log and a list, and reads, trims and reopens both."""

    log: EventLog

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.log = self._open()
        self.stored: list[tuple[int, bytes]] = []
        self.highest = 0

    def _open(self) -> EventLog:
        return SqliteEventLog(Path(self._folder.name) / "log.db")

    @rule(bodies=BODIES)
    def append(self, bodies: list[bytes]) -> None:
        positions = self.log.append([NewRecord(1, "wk", "track", "identity", body, "") for body in bodies])
        assert sorted(set(positions)) == list(positions)
        assert positions[0] > self.highest
        self.stored += zip(positions, bodies, strict=True)
        self.highest = positions[-1]

    @rule()
    def append_nothing(self) -> None:
        assert list(self.log.append([])) == []

    @rule(share=st.floats(0, 1), records_max=st.integers(1, 100), bytes_max=st.integers(1, 5_000))
    def read(self, share: float, records_max: int, bytes_max: int) -> None:
        after = int(share * self.highest)
        expected: list[tuple[int, bytes]] = []
        for position, body in self.stored:
            if position > after and len(expected) < records_max and sum(size(b) for _, b in expected) < bytes_max:
                expected.append((position, body))
        records = self.log.read(after, records_max=records_max, bytes_max=bytes_max)
        assert [(record.position, decompress(record)) for record in records] == expected

    @rule(share=st.floats(0, 1), records_max=st.integers(1, 100))
    def trim(self, share: float, records_max: int) -> None:
        through = int(share * self.highest)
        count = min(records_max, sum(position <= through for position, _ in self.stored))
        assert self.log.trim(through, records_max=records_max) == count
        self.stored = self.stored[count:]

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = self._open()

    @invariant()
    def remembers_its_end(self) -> None:
        assert self.log.last_position() == self.highest

    def teardown(self) -> None:
        self.log.close()
        self._folder.cleanup()


TestEventLog = EventLogMachine.TestCase
TestEventLog.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
