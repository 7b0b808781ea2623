"""Whatever is done to an event log in whatever order, it holds what a plain list would."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from punchcard.log.port import EventLog, NewRecord
from punchcard.log.sqlite import SqliteEventLog, decompress

BODIES = st.lists(st.binary(max_size=20) | st.binary(min_size=600, max_size=700), min_size=1, max_size=70)


class EventLogMachine(RuleBasedStateMachine):
    """Appends, reads, trims, closes and opens again, and does the same to a list."""

    log: EventLog

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.log = self._open()
        self.kept: list[tuple[int, bytes]] = []
        self.highest = 0

    def _open(self) -> EventLog:
        return SqliteEventLog(Path(self._folder.name) / "log.db")

    @rule(bodies=BODIES)
    def append(self, bodies: list[bytes]) -> None:
        positions = self.log.append([NewRecord(1, "wk", "track", "identity", body, "") for body in bodies])
        assert sorted(set(positions)) == list(positions)
        assert positions[0] > self.highest
        self.kept += zip(positions, bodies, strict=True)
        self.highest = positions[-1]

    @rule()
    def append_nothing(self) -> None:
        assert list(self.log.append([])) == []

    @rule(share=st.floats(0, 1), records_max=st.integers(1, 100), bytes_max=st.integers(1, 5_000))
    def read(self, share: float, records_max: int, bytes_max: int) -> None:
        after = int(share * self.highest)
        expected: list[tuple[int, bytes]] = []
        for position, body in self.kept:
            if position > after and len(expected) < records_max and sum(len(b) for _, b in expected) < bytes_max:
                expected.append((position, body))
        found = self.log.read(after, records_max=records_max, bytes_max=bytes_max)
        assert [(one.position, decompress(one)) for one in found] == expected

    @rule(share=st.floats(0, 1), records_max=st.integers(1, 100))
    def trim(self, share: float, records_max: int) -> None:
        through = int(share * self.highest)
        gone = [one for one in self.kept if one[0] <= through][:records_max]
        assert self.log.trim(through, records_max=records_max) == len(gone)
        self.kept = self.kept[len(gone) :]

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
