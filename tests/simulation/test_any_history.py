"""The promise again, with a history that hypothesis makes up, and cuts to its shortest form when it ends badly."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from punchcard.errors import StorageError
from punchcard.testing.examples import examples
from punchcard.testing.oracle import Oracle
from punchcard.testing.simulation import run_until_idle
from punchcard.testing.world import OTHER_SOURCE, SOURCE, ProcessEnd, World, batch_of, track

NUMBERS = st.integers(0, 7)
SOURCES = st.sampled_from([SOURCE, OTHER_SOURCE])
EMAILS = st.sampled_from(["ann@example.com", "bob@example.com"])


class AnyTrace(RuleBasedStateMachine):
    """Append, step, crash, lost answer, clock, replay, retry: in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._sent: list[tuple[bytes, str]] = []

    @initialize(seed=st.integers(0, 99), refuses_used_keys=st.booleans())
    def begin(self, seed: int, refuses_used_keys: bool) -> None:
        self.world = World(Path(self._folder.name), seed=seed, refuses_used_keys=refuses_used_keys)
        self.oracle = Oracle(self.world)

    @rule(source=SOURCES, email=EMAILS, order=NUMBERS, cents=st.integers(1, 99_999))
    def order(self, source: str, email: str, order: int, cents: int) -> None:
        self._send(track(self._id(), email=email, order_id=f"o{order}", quantity=f"{cents / 100:.2f}"), source)

    @rule(
        source=SOURCES,
        email=EMAILS,
        order=NUMBERS,
        cents=st.none() | st.sampled_from([500, 1_000]) | st.integers(1, 99_999),
        refund_id=st.none() | st.sampled_from(["r1", "r2"]),
    )
    def refund(self, source: str, email: str, order: int, cents: int | None, refund_id: str | None) -> None:
        requested = None if cents is None else f"{cents / 100:.2f}"
        event = track(
            self._id(), email=email, order_id=f"o{order}", quantity=requested, refund=True, refund_id=refund_id
        )
        self._send(event, source)

    @rule(source=SOURCES, email=EMAILS)
    def visit(self, source: str, email: str) -> None:
        self._send(track(self._id(), email=email, quantity="1"), source)

    @rule(number=NUMBERS)
    def replay(self, number: int) -> None:
        if self._sent:
            body, source = self._sent[number % len(self._sent)]
            self.world.send(body, source=source)

    @rule(number=NUMBERS, source=SOURCES)
    def track_in_another_place(self, number: int, source: str) -> None:
        if self._sent:
            self.world.send(self._sent[number % len(self._sent)][0], source=source)

    @rule()
    def route(self) -> None:
        self.world.route()

    @rule(seconds=st.sampled_from([-18_000, 18_000, -30, 30, -8, 8, -(10**8), 10**8]))
    def set_clock(self, seconds: int) -> None:
        self.world.set_clock(seconds)

    @rule()
    def feed_lake(self) -> None:
        self.world.feed_lake()

    @rule(room=NUMBERS)
    def deliver(self, room: int) -> None:
        self.world.deliver(room=room)

    @rule(number=NUMBERS)
    def leave(self, number: int) -> None:
        self.world.perform(number)

    @rule(number=NUMBERS)
    def hear(self, number: int) -> None:
        self.world.receive_result(number)

    @rule(seconds=st.sampled_from([0.1, 4.0, 6.0, 11.0, 30.0, 600.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(points=st.integers(1, 6), is_crash=st.booleans())
    def light_fuse(self, points: int, is_crash: bool) -> None:
        self.world.fuse.set(points, error=ProcessEnd() if is_crash else StorageError("the disk is full"))

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @rule()
    def revoke_token(self) -> None:
        self.world.revoke_token()

    @rule()
    def renew_token(self) -> None:
        self.world.renew_token()

    @rule()
    def retry(self) -> None:
        self.world.retry()

    @invariant()
    def at_most_one_effect_per_key(self) -> None:
        if hasattr(self, "oracle"):
            self.oracle.always()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                try:
                    run_until_idle(self.world)
                    self.oracle.when_idle()
                finally:
                    self.world.close()
        finally:
            self._folder.cleanup()

    def _id(self) -> str:
        return f"m{len(self._sent)}"

    def _send(self, event: dict[str, object], source: str) -> None:
        body = batch_of(event)
        self._sent.append((body, source))
        self.world.send(body, source=source)


TestAnyTrace = AnyTrace.TestCase
TestAnyTrace.settings = settings(
    max_examples=examples(15, part=6),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
