"""After any sequence of operations, an event log has the same records as a plain list."""

import tempfile
from collections.abc import Callable
from itertools import count
from typing import Any

import psycopg
import pytest
import zstandard
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from punchcard.log.bodies import decompress
from punchcard.log.opening import open_event_log
from punchcard.log.port import EventLog, NewRecord
from punchcard.testing.examples import examples

BODIES = st.lists(st.binary(max_size=20) | st.binary(min_size=600, max_size=700), min_size=1, max_size=70)


def size(body: bytes) -> int:
    """Return the size that the log counts for a body: that of the compressed form, if that is longer."""
    return max(len(body), len(zstandard.compress(body, 1))) if len(body) >= 512 else len(body)


class EventLogMachine(RuleBasedStateMachine):
    """Appends to a log and a list, and reads, trims and reopens both."""

    log: EventLog

    new_url: Callable[[], str]

    @initialize()
    def begin(self) -> None:
        self._url = type(self).new_url()
        self.log = open_event_log(self._url)
        self.stored: list[tuple[int, bytes]] = []
        self.highest = 0

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
        self.log = open_event_log(self._url)

    @invariant()
    def remembers_its_end(self) -> None:
        assert self.log.last_position() == self.highest

    def teardown(self) -> None:
        self.log.close()


def test_a_log_in_sqlite_is_a_list() -> None:
    numbers = count()
    with tempfile.TemporaryDirectory() as folder:

        class Machine(EventLogMachine):
            @staticmethod
            def new_url() -> str:
                return f"sqlite:///{folder}/{next(numbers)}.db"

        run_state_machine_as_test(
            Machine, settings=settings(max_examples=examples(25, part=10), stateful_step_count=20, deadline=None)
        )


def test_a_log_in_postgresql_is_a_list(empty_postgres_url: str) -> None:
    class Machine(EventLogMachine):
        @staticmethod
        def new_url() -> str:
            with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
                connection.execute("DROP TABLE IF EXISTS event_log, event_log_head, event_log_records")
            return empty_postgres_url

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples(10, part=5), stateful_step_count=20, deadline=None)
    )


@pytest.mark.kafka
def test_a_log_in_kafka_is_a_list(kafka: Any) -> None:
    class Machine(EventLogMachine):
        @staticmethod
        def new_url() -> str:
            return str(kafka.url())

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples(10, part=5), stateful_step_count=20, deadline=None)
    )
