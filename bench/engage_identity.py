"""How many events a second find their profile: read, resolved against a real store, and written down."""

import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.size import size
from punchcard.engage import identity_resolution
from punchcard.engage.person_events import read_events
from punchcard.lake.reader import LakeEvent
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import IdentityRules
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.store.engine import Store

_NOW = datetime(2026, 6, 1, tzinfo=UTC)
_PEOPLE = size(100_000, 1_000)
_BATCH = size(20_000, 1_000)
_BATCHES = size(10, 2)


def measure() -> list[float]:
    """Events that one core does in a second: people come back, new ones come, and visitors sign in (1 event in 50)."""
    collect_rarely()  # as the process does that this happens in
    rules = IdentityRules()
    reader = IdReader(rules)
    chance = random.Random(1)
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'store.db'}")
        for batch in range(_BATCHES):
            events = [_event(chance, batch * _BATCH + number) for number in range(_BATCH)]
            begun = time.process_time()
            reading = read_events(events, reader)
            with store.reading() as work:
                changes = identity_resolution.plan_changes(work, reading.people, rules=rules, reserved=())
            with store.unit_of_work() as work:
                identity_resolution.write_changes(work, changes)
            rates.append(_BATCH / (time.process_time() - begun))
        store.close()
    return rates[1:]


def _event(chance: random.Random, number: int) -> LakeEvent:
    person = chance.randrange(_PEOPLE)
    kind = chance.random()
    is_visitor = kind < 0.5
    signs_in = kind < 0.02
    at = _NOW + timedelta(milliseconds=number)
    return LakeEvent(
        message_id=f"m{number}",
        type="track",
        event="Page Viewed",
        user_id=None if is_visitor and not signs_in else f"user-{person}",
        anonymous_id=f"anon-{person}" if is_visitor else None,
        email=None if is_visitor else f"person{person}@example.com",
        source="web",
        received_at=at,
        timestamp=at,
        log_position=number // 100 + 1,
        event_index=number % 100,
        payload=b'{"type":"track","event":"Page Viewed","properties":{"sku":"a"},"context":{"page":{"url":"u"}}}',
        results=(),
    )
