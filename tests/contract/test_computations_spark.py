"""The same definitions on Spark: what the compiler writes for it answers as DuckDB does. Run by `make spark`."""

import json
import random
from zoneinfo import ZoneInfo

import pytest

from punchcard.computations.model import Events
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.sql import ComputationQuery, spark_statement, statement
from punchcard.engage.fact_store import FactStore
from punchcard.engage.facts import FactRows

pytestmark = pytest.mark.spark
NOW = 1_773_000_000_000_000
HOUR = 3_600_000_000
AUDIENCES = [
    "event('A').count() >= 2",
    "event('A').within(2 days).count() >= 1 AND event('B').within(1 day).count() = 0",
    "NOT ( event('A').where( property('revenue') > 5 ).within(3 days).count() >= 1 )",
    "event('A').where( property('sku').one_of('a', 'b') AND property('n.m').exists() ).count() >= 1",
    "event('A').where( event('B').within(parent: 1 day).count() >= 1 ).count() >= 1",
    "event('A').where( NOT ( event('B').where( property('sku') = property(parent: 'sku') ).count() >= 1 ) )"
    ".count() >= 1",
    "event('A').between(1 day, 3 days).sum(property('revenue')) > 10",
    "trait('vip') = true OR trait('age') >= 18",
    "trait('seen').within_last(3 days) OR trait('seen').before_date('2026-03-01')",
    "event('A').expires_after(12 hours).count() >= 2",
    "event('A').where( property('sku').starts_with('a') OR property('sku').ends_with('b') ).count() >= 1",
    "event('A').sources('web').unique(property('sku')).count() >= 2",
    "event('A').where( property('items.$.sku') = 'b' AND property('items.$.n') >= 1 ).count() >= 1",
    "event('A').where( NOT ( property('items.$.sku') = 'b' ) OR property('items.$.n').absent() ).count() >= 2",
    "event('A').where( property('tags.$').contains('x') OR property('tags.$') = 2 ).count() >= 1",
    "event('A').where( event('B').between(parent: 6 hours, 2 days).unique(property('items.$.sku')).count() >= 1 )"
    ".count() >= 1",
    "trait('address.city') = 'Austin' AND NOT trait('orders.$.sku') = 'b'",
    "trait('orders.$.n') > 1 OR trait('tags.$').contains('x') OR trait('a\\\\.b').exists()",
    "trait('seen').within_last(36 hours) OR trait('seen').after_date(2026-03-08T09:30:00Z)",
    "trait('seen').before_date('2026-03-08') OR trait('seen').before_last(2 days)",
]
TRAITS = [
    "event('A').count()",
    "event('A').sum(property('revenue'))",
    "event('A').avg(property('revenue'))",
    "event('A').min(property('revenue'))",
    "event('A').max(property('sku') as string)",
    "event('A').first(property('sku'))",
    "event('A').last(property('sku'))",
    "event('A').mode(property('sku'))",
    "event('A').unique(property('sku'))",
    "event('A').unique(property('sku')).count()",
    "event('B').expires_after(1 day).sum(property('revenue'))",
    "event('A').unique(property('items.$.sku'))",
    "event('A').unique(property('items.$.sku')).count()",
    "event('A').sum(property('items.$.n'))",
    "event('A').max(property('tags.$'))",
    "event('A').mode(property('items.$.sku'))",
    "event('A').first(property('items.$.sku'))",
    "event('A').last(property('tags.$'))",
    "event('B').expires_after(1 day).unique(property('items.$.sku'))",
]


@pytest.fixture(scope="module")
def both(spark, tmp_path_factory):
    """The same facts in DuckDB and as Spark's views."""
    facts = FactStore(tmp_path_factory.mktemp("facts") / "engage.duckdb")
    chance = random.Random(7)
    rows = FactRows()
    for seq in range(400):
        rows.profiles.append(chance.randrange(1, 30))
        rows.happened.append(NOW - chance.randrange(0, 100) * HOUR)
        rows.seqs.append(seq)
        rows.events.append(chance.choice("AAB"))
        rows.sources.append(chance.choice(["web", "pos"]))
        properties = {"revenue": chance.choice([1, 9.99, "5.5", "x"]), "sku": chance.choice(["a", "b", "ab"])}
        if chance.random() < 0.5:
            properties["n"] = {"m": chance.randrange(3)}
            items = [{"sku": chance.choice("ab"), "n": number} for number in range(chance.randrange(3))]
            properties["items"] = chance.choice([items, [*items, {}], {"sku": "b"}, "b"])
            properties["tags"] = chance.choice([["x"], [1, 2], ["it's x"], {"a": "x"}, "x"])
        rows.properties.append(json.dumps(properties, separators=(",", ":")).encode())
        rows.contexts.append(b"{}")
    facts.add_facts(rows)
    facts.add_people([(number, number % 7 != 0) for number in range(1, 33)])
    seen = ["2026-03-08T01:30:00-08:00", "2026-02-05T00:00:00Z", "never", "2026-03-08", "2026-03-09T06:59:59Z"]
    for profile in range(1, 30):
        values = {"vip": profile % 2 == 0, "age": profile, "seen": seen[profile % 5]}
        values["address"] = [{"city": "Austin"}, {"city": None}, "Austin"][profile % 3]
        values["orders"] = [[{"sku": "a", "n": 2}, {"sku": "b"}], [{"sku": "a"}], {"sku": "a"}, []][profile % 4]
        values |= {"tags": ["x", 1] if profile % 2 else "x", "a.b": 1} if profile > 9 else {}
        facts.set_traits([(profile, name, json.dumps(value), "") for name, value in values.items()])
    for table in ("facts", "traits", "people"):
        path = tmp_path_factory.mktemp("parquet") / f"{table}.parquet"
        arrow = facts._connection.sql(f"SELECT * FROM {table}").to_arrow_table()
        import pyarrow.parquet

        pyarrow.parquet.write_table(arrow, path)
        spark.read.parquet(str(path)).createOrReplaceTempView(table)
    yield facts
    facts.close()


def plain(value: object) -> object:
    """A value as both engines would write it."""
    if isinstance(value, list):
        return sorted(value)
    if isinstance(value, str) and value.startswith('"'):
        return json.loads(value)  # DuckDB keeps the JSON of a text, Spark its content
    return value


@pytest.mark.parametrize("zone", [ZoneInfo("UTC"), ZoneInfo("America/Los_Angeles")], ids=str)
@pytest.mark.parametrize("text", [*AUDIENCES, *TRAITS])
def test_spark_answers_as_duckdb_does(spark, both, text, zone):
    definition = parse_trait(text) if text in TRAITS else parse_audience(text)
    assert isinstance(definition, Events) is (text in TRAITS)
    queries = [ComputationQuery(definition=definition)]
    ours = {profile: plain(value) for profile, value in both.rows(statement(queries, now=NOW, zone=zone))}
    rows = spark.sql(spark_statement(queries, now=NOW, zone=zone)).collect()
    assert {row[0]: plain(row[1]) for row in rows} == ours
    assert ours, "a definition that holds for nobody proves nothing"
