"""Compile definitions into one SQL statement over facts, traits and people: DuckDB's, and Spark's through sqlglot.

The tables of the statement, and what a row is:

* `facts`, an event of a person: `profile`, `happened` (microseconds since 1970), `seq` (rises with the log, unique),
  `event`, `source`, `properties` and `context` (JSON), and `revenue`, `value`, `total` as decimals read from there;
* `traits`, a trait of a person: `profile`, `name`, `text`, `json`;
* `people`, a person: `profile`, `known` (has more than anonymous ids);
* `list_members`, a member of a static list: `list`, its name, and `profile`;
* `touched`, only on request: `profile` of the people to compute.

The result has a row for each person that meets a condition or has a value: `profile`, and a column `c0`, `c1` … for
each definition. A condition's column is true or false, a value's column is null if there is no value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Final

from punchcard.computations.absence import is_empty_without_events
from punchcard.computations.conditions import (
    ENTRY,
    Scope,
    array_text,
    comparison_of,
    entries_of,
    member_of_json,
    path_of,
    text_of,
)
from punchcard.computations.model import (
    COUNTING,
    And,
    Comparison,
    Condition,
    Definition,
    Events,
    Not,
    Or,
    Reducer,
    StaticList,
    Trait,
    all_events,
    funnel_children,
    trait_keys,
    traits_of,
)
from punchcard.computations.reducers import aggregate_of, reduced_member, reduces_entries

# Order of events: by time, then by the log. One number is compared faster than two; Spark has no type that wide.
# The factor is 2^62: every `seq` is below it, and microseconds times it still fit.
_ORDER: Final = "CAST({0}happened AS HUGEINT) * 4611686018427387904 + {0}seq"
# Spark returns a list's entries as one text.
_ENTRIES_IN_SPARK: Final = re.compile(r"GET_JSON_OBJECT\(([^,()]+), '((?:[^']|\\')*)\[\*\]'\)")
_ORDER_OF_SPARK: Final = "STRUCT_PACK(a := {0}happened, b := {0}seq)"


@dataclass(frozen=True, kw_only=True)
class ComputationQuery:
    """A definition to be computed.

    Attributes:
        definition: A condition, or events reduced to a value.
        includes_anonymous: True to count people who have only anonymous ids.
    """

    definition: Definition
    includes_anonymous: bool = False


def statement(queries: Sequence[ComputationQuery], *, now: int, zone: tzinfo = UTC, only_touched: bool = False) -> str:
    """Compile the queries into one statement in DuckDB's SQL.

    Args:
        queries: At least one.
        now: The moment to compute for, microseconds since 1970.
        zone: Time zone in which days begin and end.
        only_touched: True to compute only for the people in `touched`.
    """
    return _Compiler(now, zone, only_touched=only_touched, order=_ORDER).statement(queries)


def spark_statement(queries: Sequence[ComputationQuery], *, now: int, zone: tzinfo = UTC) -> str:
    """Compile the queries into one statement in Spark's SQL.

    Raises:
        ValueError: A definition uses `as array`, which Spark's SQL cannot express.
    """
    import sqlglot

    if any(events.as_array for query in queries for events in all_events(query.definition)):
        raise ValueError("`as array` is not available for Spark, which returns a list's values only as texts.")
    written = _Compiler(now, zone, only_touched=False, order=_ORDER_OF_SPARK).statement(queries)
    sql = sqlglot.transpile(written, read="duckdb", write="spark")[0]
    sql = _ENTRIES_IN_SPARK.sub(r"FROM_JSON(GET_JSON_OBJECT(\1, '\2'), 'ARRAY<STRING>')", sql)
    return (
        sql.replace(f"GET_JSON_OBJECT({ENTRY}, '$')", ENTRY)
        .replace("EPOCH_US(", "UNIX_MICROS(")
        .replace("LIST_EXTRACT(", "TRY_ELEMENT_AT(")
        .replace("TIMESTAMPTZ", "TIMESTAMP")
    )


def value_json(definition: Definition, column: str) -> str:
    """Return DuckDB's expression for the value of a column as JSON text; null if there is none."""
    if not isinstance(definition, Events):
        return f"CASE WHEN {column} THEN 'true' END"
    match definition.reducer:
        case Reducer.COUNT | Reducer.UNIQUE_COUNT:
            return f"CAST({column} AS VARCHAR)"
        case Reducer.FIRST | Reducer.LAST:
            return f"CAST({column} AS VARCHAR)"
        case Reducer.UNIQUE:
            return f"CASE WHEN len({column}) > 0 THEN CAST(to_json({column}) AS VARCHAR) END"
        case _ if definition.as_text or definition.reducer is Reducer.MODE:
            return f"CAST(to_json({column}) AS VARCHAR)"
        case _:
            return f"rtrim(rtrim(CAST({column} AS VARCHAR), '0'), '.')"


@dataclass
class _Compiler:
    now: int
    zone: tzinfo
    only_touched: bool
    order: str
    shared: dict[Events, str] = field(default_factory=dict)  # aggregates of one pass over the facts, by alias
    tables: dict[str, str] = field(default_factory=dict)  # other CTEs by name, in order
    joined: dict[Events, str] = field(default_factory=dict)  # events with a CTE of their own, by its name
    traits: dict[Trait, str] = field(default_factory=dict)  # each with its column

    def statement(self, queries: Sequence[ComputationQuery]) -> str:
        traits = {trait for query in queries for trait in traits_of(query.definition)}
        self.traits = {trait: f"t{number}" for number, trait in enumerate(sorted(traits, key=lambda trait: trait.key))}
        expressions = [self._expression(query.definition) for query in queries]
        if self.traits:
            self.tables = {"t": self._traits(), **self.tables}
        if self.shared:
            self.tables["e"] = self._one_pass()
        results = [f"({expression})" if query.includes_anonymous else self._known(query, expression)
                  for query, expression in zip(queries, expressions, strict=True)]  # fmt: skip
        columns = ", ".join(f"{expression} AS c{number}" for number, expression in enumerate(results))
        ctes = ", ".join(f"{name} AS ({sql})" for name, sql in self.tables.items())
        has_result = " OR ".join(
            f"c{number} IS NOT NULL" if isinstance(query.definition, Events) else f"c{number}"
            for number, query in enumerate(queries)
        )
        inner = f"SELECT p.profile AS profile, {columns} FROM {self._sources(queries)}"
        return f"{'WITH ' + ctes if ctes else ''} SELECT * FROM ({inner}) AS results WHERE {has_result}".strip()

    def _known(self, query: ComputationQuery, expression: str) -> str:
        if isinstance(query.definition, Events):
            return f"CASE WHEN p.known THEN {expression} END"
        return f"(p.known AND ({expression}))"

    def _sources(self, queries: Sequence[ComputationQuery]) -> str:
        touched = " WHERE p.profile IN (SELECT profile FROM touched)" if self.only_touched else ""
        if set(self.tables) == {"e"} and all(is_empty_without_events(query.definition) for query in queries):
            # Most people have no such events, so the join starts with those who have.
            return f"e JOIN people AS p ON p.profile = e.profile{touched}"
        joins = "".join(
            f" LEFT JOIN {name} ON {name}.profile = p.profile" for name in self.tables if not name.startswith("k")
        )
        return f"people AS p{joins}{touched}"

    def _expression(self, part: Definition) -> str:
        match part:
            case Events():
                # As a value, zero events are null; only in a comparison they are 0.
                column = self._column(part)
                return f"NULLIF({column}, 0)" if part.reducer in COUNTING else column
            case Comparison():
                return comparison_of(part, self._outer())
            case StaticList():
                return f"p.profile IN (SELECT profile FROM list_members WHERE list = {text_of(part.name)})"
            case Not():
                return f"NOT ({self._expression(part.condition)})"
            case And():
                return " AND ".join(f"({self._expression(condition)})" for condition in part.conditions)
            case Or():
                return " OR ".join(f"({self._expression(condition)})" for condition in part.conditions)

    def _outer(self) -> Scope:
        """Return the scope of a comparison of people: their reduced events and their traits."""
        return Scope(events=self._result, trait=self._trait, now=self.now, zone=self.zone)

    def _result(self, events: Events) -> str:
        column = self._column(events)
        return f"COALESCE({column}, 0)" if events.reducer in COUNTING else column

    def _column(self, events: Events) -> str:
        if (
            events.reducer is Reducer.MODE
            or events.session is not None
            or funnel_children(events)
            or reduces_entries(events)
        ):
            if events not in self.joined:
                self.joined[events] = f"x{len(self.joined)}"
                self.tables[self.joined[events]] = self._own_pass(events)
            return f"{self.joined[events]}.v"
        alias = self.shared.setdefault(events, f"a{len(self.shared)}")
        return f"e.{alias}"

    def _trait(self, trait: Trait) -> str:
        return f"t.{self.traits[trait]}"

    def _traits(self) -> str:
        columns = ", ".join(
            f"MAX({_trait_value(trait)}) FILTER (WHERE name = {text_of(trait.name)}) AS {column}"
            for trait, column in self.traits.items()
        )
        names = ", ".join(sorted({text_of(trait.name) for trait in self.traits}))
        return f"SELECT profile, {columns} FROM traits WHERE name IN ({names}){self._restriction()} GROUP BY profile"

    def _restriction(self, table: str = "") -> str:
        return f" AND {table}profile IN (SELECT profile FROM touched)" if self.only_touched else ""

    def _one_pass(self) -> str:
        """Return all plain aggregates in one pass over the facts."""
        several = len(self.shared) > 1
        columns = ", ".join(
            f"{self._aggregate(events, self._condition(events) if several else None)} AS {alias}"
            for events, alias in self.shared.items()
        )
        if several:
            names = ", ".join(sorted({text_of(events.name) for events in self.shared}))
            where = f"f.event IN ({names}) AND f.happened <= {self.now - self._least_age()}"
            if all(events.window for events in self.shared):
                oldest = max(events.window.end.micros for events in self.shared if events.window)
                where += f" AND f.happened > {self.now - oldest}"
        else:
            where = " AND ".join(self._condition(next(iter(self.shared))))
        where += self._restriction("f.")
        return f"SELECT f.profile, {columns} FROM {self._facts(self.shared)} WHERE {where} GROUP BY f.profile"

    def _least_age(self) -> int:
        return min(events.window.begin.micros if events.window and events.window.begin else 0 for events in self.shared)

    def _facts(self, events: Iterable[Events]) -> str:
        uses_traits = any(trait_keys(event.where) for event in events if event.where is not None)
        return "facts AS f LEFT JOIN t ON t.profile = f.profile" if uses_traits else "facts AS f"

    def _own_pass(self, events: Events) -> str:
        """Return the pass for events that cannot share one: sessions, funnels, the most frequent value."""
        source = self._facts([events])
        for number, child in enumerate(funnel_children(events)):
            source += (
                f" LEFT JOIN {self._child(events, child, number)} ON {self._child_name(events, number)}.seq = f.seq"
            )
        where = " AND ".join(self._condition(events)) + self._restriction("f.")
        if events.session is not None:
            source, where = self._session(events, source, where), "TRUE"
        if reduces_entries(events):
            entries = entries_of(reduced_member(events), "f.")
            source, where = f"(SELECT f.*, UNNEST({entries}) AS {ENTRY} FROM {source} WHERE {where}) AS f", "TRUE"
        if events.reducer is Reducer.MODE:
            return self._most_frequent(events, source, where)
        return f"SELECT f.profile, {self._aggregate(events, None)} AS v FROM {source} WHERE {where} GROUP BY f.profile"

    def _most_frequent(self, events: Events, source: str, where: str) -> str:
        text = array_text(reduced_member(events), "f.") if events.as_array else path_of(reduced_member(events), "f.")
        return (
            "SELECT profile, ARG_MIN(x, STRUCT_PACK(a := -n, b := x)) AS v FROM (SELECT f.profile AS profile,"
            f" {text} AS x, COUNT(*) AS n FROM {source} WHERE {where} AND {text} IS NOT NULL"
            f" GROUP BY f.profile, {text} HAVING COUNT(*) >= {events.min_frequency}) AS counted GROUP BY profile"
        )

    def _session(self, events: Events, source: str, where: str) -> str:
        """Return the events of the latest session, as `f`."""
        length = events.session.micros if events.session else 0
        before = "LAG(f.happened) OVER (PARTITION BY f.profile ORDER BY f.happened, f.seq)"
        begins = f"CASE WHEN {before} IS NULL OR f.happened - {before} >= {length} THEN f.happened END"
        marked = f"SELECT f.*, {begins} AS begins FROM {source} WHERE {where}"
        ranged = (
            "SELECT *, MAX(begins) OVER (PARTITION BY profile) AS begun,"
            f" MAX(happened) OVER (PARTITION BY profile) AS newest FROM ({marked}) AS marked"
        )
        return f"(SELECT * FROM ({ranged}) AS ranged WHERE happened >= begun AND newest > {self.now - length}) AS f"

    def _child_name(self, parent: Events, number: int) -> str:
        return f"k{list(self.joined).index(parent)}_{number}"

    def _child(self, parent: Events, child: Events, number: int) -> str:
        """Add a CTE with what followed each parent event, by the parent's `seq`; return its name."""
        name = self._child_name(parent, number)
        follows = ["c.profile = f.profile", f"c.event = {text_of(child.name)}", f"c.happened <= {self.now}"]
        follows.append("(c.happened > f.happened OR (c.happened = f.happened AND c.seq > f.seq))")
        if child.within_parent is not None:
            follows.append(f"c.happened < f.happened + {child.within_parent.micros}")
        if child.after_parent is not None:
            follows.append(f"c.happened >= f.happened + {child.after_parent.micros}")
        follows += self._window(child, "c.")
        if child.where is not None:
            follows.append(self._where(child.where, "c.", parent="f."))
        traits = " LEFT JOIN t ON t.profile = f.profile" if child.where is not None and trait_keys(child.where) else ""
        parents = [f"f.event = {text_of(parent.name)}", f"f.happened <= {self.now}", *self._window(parent, "f.")]
        source = (
            f"facts AS f JOIN facts AS c ON c.profile = f.profile{traits}"
            f" WHERE {' AND '.join([*parents, *follows])}{self._restriction('f.')}"
        )
        value = aggregate_of(child, "c.", None, self.order)
        if reduces_entries(child):
            entries = entries_of(reduced_member(child), "c.")
            source = f"(SELECT f.seq AS parent_seq, UNNEST({entries}) AS {ENTRY} FROM {source}) AS c"
            self.tables[name] = f"SELECT parent_seq AS seq, {value} AS v FROM {source} GROUP BY parent_seq"
        else:
            self.tables[name] = f"SELECT f.seq AS seq, {value} AS v FROM {source} GROUP BY f.seq"
        return name

    def _condition(self, events: Events) -> list[str]:
        conditions = [f"f.event = {text_of(events.name)}", *self._window(events, "f.")]
        if events.sources:
            listed = ", ".join(map(text_of, events.sources))
            conditions.append(f"f.source {'NOT IN' if events.sources_left_out else 'IN'} ({listed})")
        if events.where is not None:
            children = {child: number for number, child in enumerate(funnel_children(events))}
            conditions.append(self._where(events.where, "f.", children={key: self._child_result(events, key, number)
                                                                   for key, number in children.items()}))  # fmt: skip
        return conditions

    def _child_result(self, parent: Events, child: Events, number: int) -> str:
        column = f"{self._child_name(parent, number)}.v"
        return f"COALESCE({column}, 0)" if child.reducer in COUNTING else column

    def _window(self, events: Events, table: str) -> list[str]:
        begin = events.window.begin.micros if events.window and events.window.begin else 0
        conditions = [f"{table}happened <= {self.now - begin}"]
        if events.window is not None:
            conditions.append(f"{table}happened > {self.now - events.window.end.micros}")
        if events.since:
            conditions.append(f"{table}happened >= {events.since}")
        return conditions

    def _where(
        self,
        condition: Condition,
        table: str,
        *,
        parent: str = "",
        children: Mapping[Events, str] | None = None,
    ) -> str:
        match condition:
            case Not():
                return f"NOT ({self._where(condition.condition, table, parent=parent, children=children)})"
            case And() | Or():
                word = " AND " if isinstance(condition, And) else " OR "
                operands = (
                    self._where(inner, table, parent=parent, children=children) for inner in condition.conditions
                )
                return "(" + word.join(f"({operand})" for operand in operands) + ")"
            case StaticList():
                raise ValueError("A static list is a whole definition, not a condition on events.")
            case Comparison():
                scope = Scope(
                    events=lambda events: (children or {})[events],
                    trait=self._trait,
                    now=self.now,
                    zone=self.zone,
                    table=table,
                    parent=parent,
                )
                return comparison_of(condition, scope)

    def _aggregate(self, events: Events, conditions: list[str] | None) -> str:
        return aggregate_of(events, "f.", conditions, self.order)


def _trait_value(trait: Trait) -> str:
    if trait.list_path is not None:
        return "json"
    return member_of_json("json", trait.inner) if trait.inner else "text"
