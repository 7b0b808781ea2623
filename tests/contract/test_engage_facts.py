"""Each event has a number of its own in the facts, however many events a log record holds."""

from datetime import UTC, datetime
from pathlib import Path

from punchcard.events.parse import BATCH_BYTES_MAX
from punchcard.events.sequence import EVENTS_PER_RECORD_MAX, seq_of
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
EVENTS = 4_200  # more than the 4,096 for which numbers were made once
FUNNEL = "event('Cart Viewed').where( event('Order Completed').within(parent: 1 day).count() >= 1 ).count() >= 1"


def test_a_forwarded_record_of_many_events_shares_no_number_with_the_next_record(
    tmp_path: Path, sqlite_url: str
) -> None:
    store = Store(sqlite_url)
    world = EngageWorld(tmp_path, store, BEGIN)
    world.configure(world.audience("bought_after", FUNNEL))
    at = BEGIN.isoformat()
    forwarded = [
        {"type": "track", "event": "Cart Viewed", "userId": f"u{number}", "messageId": f"m{number}", "timestamp": at}
        for number in range(EVENTS)
    ]
    world.receive(forwarded, call="webhook")
    world.advance(minutes=1)
    alone = {"type": "track", "userId": "ann", "timestamp": world.clock.now().isoformat()}
    bought = {"type": "track", "userId": "u4096", "timestamp": world.clock.now().isoformat()}
    world.receive([{**alone, "event": "Cart Viewed", "messageId": "a"}])
    world.receive([{**bought, "event": "Order Completed", "messageId": "b"}])
    world.run_until_idle()
    assert world.facts is not None
    numbers = world.facts.rows("SELECT count(*), count(DISTINCT seq) FROM facts")
    assert numbers == [(EVENTS + 2, EVENTS + 2)]
    assert len(world.values("bought_after")) == 1, "whoever only looked has not bought what another bought"
    world.crash()
    store.close()


def test_no_record_holds_more_events_than_it_has_numbers() -> None:
    assert BATCH_BYTES_MAX // len(b"{}") < EVENTS_PER_RECORD_MAX
    assert seq_of(1, EVENTS_PER_RECORD_MAX - 1) < seq_of(2, 0)
