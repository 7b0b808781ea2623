"""The compiler's SQL, on a real DuckDB, means what the plain reference says."""

import json
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.computations.model import Definition, Events, Reducer
from punchcard.computations.parser import checked
from punchcard.computations.sql import ComputationQuery, statement, value_json
from punchcard.engage.fact_store import FactStore
from punchcard.engage.facts import FactRows
from punchcard.testing import definitions as random
from punchcard.testing.examples import examples
from punchcard.testing.reference import Happened, Person, expected_result

NOW = 1_773_000_000_000_000  # 2026-03-08T20:00Z, the day on which clocks change in Los Angeles
HOUR = 3_600_000_000
EXAMPLES = settings(
    max_examples=examples(300, part=100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

lives = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 2]),  # the person
        st.sampled_from(random.HOURS),  # ago, and to come
        st.sampled_from(random.NAMES),
        st.sampled_from(random.SOURCES),
        random.properties(),
        st.sampled_from([{}, {"page": {"url": "a"}}, {"n": 5}]),
    ),
    min_size=6,
    max_size=12,
)
zones = st.sampled_from([ZoneInfo(name) for name in ("UTC", "America/Los_Angeles", "Pacific/Auckland", "Asia/Kolkata")])


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory):
    fact_store = FactStore(tmp_path_factory.mktemp("facts") / "engage.duckdb")
    yield fact_store
    fact_store.close()


def fill(facts: FactStore, life, known) -> dict[int, Person]:
    """Let the facts hold a life, and say what it is to the reference."""
    for table in ("facts", "traits", "people"):
        facts.run(f"DELETE FROM {table}")
    rows = FactRows()
    people = {item: Person([], known) for item in (1, 2, 3)}
    for seq, (profile, hours, name, source, properties, context) in enumerate(life):
        at = NOW + hours * HOUR
        rows.profiles.append(profile)
        rows.happened.append(at)
        rows.seqs.append(seq)
        rows.events.append(name)
        rows.sources.append(source)
        rows.properties.append(json.dumps(properties, separators=(",", ":")).encode())
        rows.contexts.append(json.dumps(context).encode())
        people[profile].events.append(Happened(at, seq, name, source, properties, context))
    facts.add_facts(rows)
    facts.add_people([(person, True) for person in people])
    facts.set_traits([(person, name, json.dumps(value), "") for person in people for name, value in known.items()])
    return people


def plain(definition: Definition, value: object) -> object:
    """A value of the reference as the SQL's JSON text."""
    if value is None or value is False:
        return None
    if not isinstance(definition, Events):
        return "true"
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if definition.reducer in (Reducer.COUNT, Reducer.UNIQUE_COUNT):
        return str(value)
    return value


def results(facts: FactStore, definition: Definition, zone: ZoneInfo) -> dict[int, object]:
    requested = statement([ComputationQuery(definition=definition)], now=NOW, zone=zone)
    rows = facts.rows(f"SELECT profile, {value_json(definition, 'c0')} FROM ({requested})")
    is_text = (isinstance(definition, Events) and definition.reducer in (
        Reducer.FIRST, Reducer.LAST, Reducer.MODE, Reducer.UNIQUE,
    )) or getattr(definition, "as_text", False)  # fmt: skip
    return {profile: json.loads(value) if is_text else value for profile, value in rows if value is not None}


@EXAMPLES
@given(definition=random.audiences() | random.events(), life=lives, known=random.traits(), zone=zones)
def test_any_definition_over_any_life_gives_what_the_reference_says(facts, definition, life, known, zone):
    people = fill(facts, life, known)
    definition = checked(definition)
    expected = {
        profile: value
        for profile, person in people.items()
        if (value := plain(definition, expected_result(definition, person, NOW, zone))) is not None
    }
    result = results(facts, definition, zone)
    if isinstance(definition, Events) and definition.reducer is Reducer.MODE:
        result = {profile: value if isinstance(value, str) else json.dumps(value) for profile, value in result.items()}
    assert result == expected


@EXAMPLES
@given(definition=random.audiences() | random.events())
def test_every_definition_is_printed_and_read_back_the_same(definition):
    again = checked(definition)
    assert again == definition
    assert msgspec.json.decode(msgspec.json.encode(definition), type=Definition) == definition
