"""Whatever people do and whenever, what Engage keeps step by step is what the reference says at that moment.

Events come late, twice, out of order and dated in the future; processes die between any two steps; facts are lost.
"""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.clock import to_micros
from punchcard.computations.model import COUNTING, Events, Reducer
from punchcard.computations.parser import checked
from punchcard.events.sequence import seq_of
from punchcard.store.engine import Store
from punchcard.testing import definitions as random
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.examples import examples
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.reference import Happened, Person, expected_result

BEGIN = datetime(2026, 3, 6, 20, tzinfo=UTC)  # two days before clocks change in Los Angeles
EXAMPLES = settings(max_examples=examples(20, part=8), deadline=None, suppress_health_check=list(HealthCheck))
OFFSETS = ("+00:00", "-08:00", "-07:00", "+05:30")

events = st.tuples(
    st.sampled_from(["ann", "bea", "cid"]),
    st.sampled_from([0, 0, 0, -1, -6, -12, -24, -48, -73, 1, 6]),  # hours before or after now
    st.sampled_from(random.NAMES),
    st.sampled_from(random.SOURCES),
    random.properties(),
    st.sampled_from(OFFSETS),
    st.booleans(),  # received again later
)
steps = st.lists(
    st.tuples(
        st.lists(events, max_size=4),
        st.sampled_from([0, 1, 5, 6, 12, 24, 30, 36]),  # hours that pass
        st.sampled_from(["", "", "", "crash", "facts lost", "identify"]),
    ),
    min_size=2,
    max_size=7,
)


def wire(number: int, event, now: datetime) -> dict[str, object]:
    person, hours, name, source, properties, offset, _ = event
    at = now + timedelta(hours=hours)
    zone = datetime.fromisoformat(f"2026-01-01T00:00:00{offset}").tzinfo
    return {
        "type": "track",
        "event": name,
        "userId": person,
        "messageId": f"m{number}",
        "timestamp": at.astimezone(zone).isoformat(),
        "properties": properties,
        "context": {"page": {"url": source}},
    }


class Run:
    """What has happened, for both sides."""

    def __init__(self, world: EngageWorld) -> None:
        self.world = world
        self.lives: dict[str, list[Happened]] = defaultdict(list)
        self.traits: dict[str, dict[str, object]] = defaultdict(dict)
        self.number = 0

    def receive(self, batch) -> None:
        for event in batch:
            self.number += 1
            now = self.world.clock.now()
            sent = wire(self.number, event, now)
            self.world.receive([sent], source=event[3])
            if event[6]:
                self.world.receive([sent], source=event[3], repeated=[True])
            at = to_micros(now + timedelta(hours=event[1]))
            context = {"page": {"url": event[3]}}
            seq = seq_of(self.world.position, 0)
            self.lives[event[0]].append(Happened(at, seq, event[2], event[3], event[4], context))

    def goes_on(self, batch, what: str) -> None:
        """The next of it happens; after a crash the world starts when it is stepped again."""
        if what == "identify":
            self.identify()
        self.receive(batch)
        if what in ("crash", "facts lost"):
            self.world.crash(loses_facts=what == "facts lost")

    def identify(self) -> None:
        self.number += 1
        traits = {"vip": "gold" if self.number % 2 else True, "age": self.number}
        call = {"type": "identify", "userId": "ann", "messageId": f"m{self.number}", "traits": traits}
        self.world.receive([call])
        self.traits["ann"] = traits

    def agrees(self, computations) -> None:
        """Everybody's value of every computation is the reference's."""
        now = to_micros(self.world.clock.now())
        with self.world.store.reading() as work:
            rows = work.exec_driver_sql("SELECT value, profile_id FROM external_ids WHERE type = 'user_id'")
            names = {profile: value for value, profile in rows}
        stored = {key: {names[p]: v for p, v in self.world.values(key).items()} for key, _ in computations}
        for key, definition in computations:
            expected = {}
            for person in names.values():
                traits = {
                    **self.traits[person],
                    **{k: True for k, _ in computations if k.startswith("a") and person in stored[k]},
                }
                if (
                    value := plain(definition, expected_result(definition, Person(self.lives[person], traits), now))
                ) is not None:
                    expected[person] = value
            # Who had counted something and has nothing left is at 0, which the reference does not tell from never.
            is_count = isinstance(definition, Events) and definition.reducer in COUNTING
            result = {
                person: read(definition, value)
                for person, value in stored[key].items()
                if not (is_count and value == "0")
            }
            assert result == expected, key


def plain(definition, value):
    if value is None or value is False:
        return None
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value if isinstance(definition, Events) else True


def read(definition, text):
    if isinstance(definition, Events) and definition.reducer in (Reducer.SUM, Reducer.AVG, Reducer.MIN, Reducer.MAX):
        return json.loads(text) if definition.as_text else text
    value = json.loads(text)
    if isinstance(definition, Events) and definition.reducer is Reducer.MODE and not isinstance(value, str):
        return json.dumps(value)
    return value


@EXAMPLES
@given(first=random.audiences(), second=random.audiences(), trait=random.events(), third=st.booleans(), steps=steps)
def test_step_by_step_is_what_the_reference_says_at_every_moment(first, second, trait, third, steps):
    with TemporaryDirectory() as folder:
        store = Store(with_tables(f"sqlite:///{folder}/store.db"))
        world = EngageWorld(Path(folder), store, BEGIN)
        definitions = [("a1", checked(first)), ("a2", checked(second)), ("t1", checked(trait))]
        if third:
            definitions.append(("a3", checked(world_condition())))
        configure(world, definitions)
        run = Run(world)
        world.start()
        for step, hours, what in steps:
            run.goes_on(step, what)
            world.run_until_idle()
            run.agrees(definitions)
            assert world.engine.check() == 0
            world.advance(hours=hours)
            world.run_until_idle()
            run.agrees(definitions)
        assert world.engine.check() == 0
        world.crash()
        store.close()


@EXAMPLES
@given(audience=random.audiences(), trait=random.events(), third=st.booleans(), steps=steps)
def test_a_large_first_answer_is_right_whatever_happens_while_it_is_written(audience, trait, third, steps):
    with TemporaryDirectory() as folder:
        store = Store(with_tables(f"sqlite:///{folder}/store.db"))
        world = EngageWorld(Path(folder), store, BEGIN, changes_max=1)
        definitions = [("a1", checked(audience)), ("t1", checked(trait))]
        if third:
            definitions.append(("a3", checked(world_condition())))
        run = Run(world)
        middle = len(steps) // 2
        for step, hours, _ in steps[:middle]:
            run.receive(step)
            world.advance(hours=hours)
        world.run_until_idle()
        configure(world, definitions)
        for step, hours, what in steps[middle:]:
            run.goes_on(step, what)
            (world.engine or world.start()).step()
            world.advance(hours=hours)
        world.run_until_idle()
        run.agrees(definitions)
        assert world.engine.check() == 0
        world.crash()
        store.close()


def configure(world, definitions):
    world.configure(
        *(
            (world.trait if isinstance(definition, Events) else world.audience)(key, definition)
            for key, definition in definitions
        )
    )


def world_condition():
    """An audience of another one's members."""
    from punchcard.computations.parser import parse_audience

    return parse_audience("trait('a1') = true AND event('Order Completed').within(24 hours).count() >= 1")
