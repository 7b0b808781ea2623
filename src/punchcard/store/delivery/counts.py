"""How many events ended how: counted where it is decided, in the same unit of work, so that the numbers are exact.

An event counts in the minute (after two days: the hour) in which it was received, wherever and whenever it ends. So the
numbers of a period add up: what was planned has been delivered, rejected, parked or is in delivery.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, Insert, Table, delete, func, select, type_coerce

from punchcard.clock import from_micros, to_micros
from punchcard.store.bulk import BulkStatement, PreparedStatement, is_listed
from punchcard.store.delivery.count_statements import count_statement
from punchcard.store.delivery.count_sums import DAY_MICROS, HOUR_MICROS, mark_changed, stretches
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import (
    award_totals,
    delivery_latencies,
    effects,
    result_counts,
)
from punchcard.store.upsert import insert_in
from punchcard.store.values import storable

RECEIVED = "received"
"""The status that counts every received event, whatever its results are."""

OTHER_NAMES = "(other names)"
"""Stands for the event names beyond the first few hundred of a source in an hour: see `routing.counted_names`."""

MINUTES_KEPT = timedelta(hours=48)
"""How long counts are kept by the minute; older ones by the hour."""

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Where a period ends that has no end."""

MINUTE_MICROS = 60_000_000
_TEXT_CHARACTERS_MAX = 256
_BANDS_PER_DOUBLING = 4


class CountKey(NamedTuple):
    """What is counted together.

    Attributes:
        bucket: Where the minute or hour begins, microseconds since 1970.
        source: Slug, "" if unknown.
        destination: Slug, "" for a result before any.
        event_type: One of the six calls, "" for what is not a valid event.
        event_name: Of a track call, "" for any other.
        status: `RECEIVED`, a result of routing (`pending`: an effect was planned), or the state in which an effect
            ended.
        reason: Stable code, "" for none.
    """

    bucket: int
    source: str
    destination: str
    event_type: str
    event_name: str
    status: str
    reason: str


class Dimension(StrEnum):
    """The dimensions by which counts are grouped."""

    TIME = "time"  # where the bucket begins
    SOURCE = "source"
    DESTINATION = "destination"
    EVENT_TYPE = "event_type"
    EVENT_NAME = "event_name"
    STATUS = "status"
    REASON = "reason"


@dataclass(frozen=True, kw_only=True)
class CountQuery:
    """A filter of counts; None matches all.

    Attributes:
        begin: The first instant.
        end: The first instant behind.
        destination: Slug; "" for what was decided before any destination.
    """

    begin: datetime
    end: datetime
    source: str | None = None
    destination: str | None = None
    statuses: Sequence[str] = ()
    event_names: Sequence[str] = ()
    event_types: Sequence[str] = ()
    reasons: Sequence[str] = ()


def add_counts(work: Connection, counts: Mapping[CountKey, int]) -> None:
    """Add to the counts; a number may be negative."""
    merged: Counter[CountKey] = Counter()
    for key, number in counts.items():
        name = storable(key.event_name[:_TEXT_CHARACTERS_MAX])
        merged[key._replace(event_name=name)] += number
    _add_rows(work, merged)
    mark_changed(work, {key.bucket for key in merged})


def _add_rows(work: Connection, counts: Mapping[CountKey, int]) -> None:
    """Add to the counts, without a mark on their hours."""
    rows = [
        {**key._asdict(), "bucket": from_micros(key.bucket), "count": number}
        for key, number in counts.items()
        if number
    ]
    _add(work, _ADD_COUNTS, result_counts, rows)


class Ended(NamedTuple):
    """An effect as it is counted once it has ended: item and quantity as sent, instants in microseconds since 1970."""

    id: int
    attempts: int
    source: str
    destination: str
    event_type: str | None
    event_name: str
    state: str
    reason: str | None
    item: str | None
    quantity: str | None
    received_micros: int
    finished_micros: int | None
    replay: str | None


def _adding(table: Table, summed: Sequence[str]) -> BulkStatement:
    """Return the statement that adds rows of numbers to the rows with the same key."""

    def build(engine: str) -> Insert:
        adding = insert_in(engine, table)
        statement: Insert = adding.on_conflict_do_update(
            index_elements=[column.name for column in table.primary_key],
            set_={name: table.c[name] + adding.excluded[name] for name in summed},
        )
        return statement

    return BulkStatement(build, [column.name for column in table.columns])


# Every delivery and routing cycle runs these: they are built once, as building them costs more than running them.
_ADD_COUNTS = _adding(result_counts, ["count"])
_ADD_TOTALS = _adding(award_totals, ["hundredths", "transactions"])
_ADD_LATENCIES = _adding(delivery_latencies, ["count"])
_MICROS = {"received_micros": effects.c.received_at, "finished_micros": effects.c.finished_at}
_CHOSEN = (
    select(
        *(
            type_coerce(_MICROS[name], BigInteger).label(name) if name in _MICROS else effects.c[name]
            for name in Ended._fields
        )
    )
    .where(is_listed(effects.c.id, "b_ids"))
    .with_for_update()
)
_ENDED = PreparedStatement(_CHOSEN.where(effects.c.is_open.is_(False)), row=Ended._make)
_ENDING = PreparedStatement(_CHOSEN.where(effects.c.state == EffectState.SENDING), row=Ended._make)


def count_ends(work: Connection, ended: Iterable[Ended], *, sign: int) -> None:
    """Count effects that have reached an end (sign 1), or that leave one (sign -1)."""
    counts: Counter[tuple[int, str, str, str, str, str, str]] = Counter()
    units: Counter[tuple[int, str, str, str | None]] = Counter()
    bands: Counter[tuple[int, str, int]] = Counter()
    for _, _, source, slug, event_type, event_name, state, reason, item, quantity, received, finished, replay in ended:
        counted_type = event_type or ("identify" if item is None else "track")
        counted_name = event_name if counted_type == "track" else ""
        minute = received - received % MINUTE_MICROS
        # As `CountKey` has them. One of its own for each effect would cost as much as the statements below.
        counts[minute, source, slug, counted_type, counted_name, state, reason or ""] += sign
        if state != EffectState.DELIVERED:
            continue
        hour = received - received % HOUR_MICROS
        if replay is None:  # the age of a replayed event is not a delivery time
            bands[hour, slug, _band((finished or 0) - received)] += sign
        if item is not None:
            units[hour, slug, item, quantity] += sign
    add_counts(work, {CountKey(*key): number for key, number in counts.items()})
    _add_award_totals(work, units)
    latencies = [
        {"bucket": from_micros(hour), "destination": slug, "band": band, "count": number}
        for (hour, slug, band), number in bands.items()
    ]
    _add(work, _ADD_LATENCIES, delivery_latencies, latencies)


def _add_award_totals(work: Connection, units: Mapping[tuple[int, str, str, str | None], int]) -> None:
    """Add transactions to the award totals.

    Args:
        units: The number of transactions by hour, destination, item and quantity.
    """
    hundredths: Counter[tuple[int, str, str]] = Counter()
    transactions: Counter[tuple[int, str, str]] = Counter()
    for (hour, slug, item, quantity), number in units.items():
        place = (hour, slug, item[:_TEXT_CHARACTERS_MAX])
        hundredths[place] += number * int((Decimal(quantity or 0) * 100).to_integral_value())
        transactions[place] += number
    totals = [
        {
            "bucket": from_micros(hour),
            "destination": slug,
            "item": item,
            "hundredths": number,
            "transactions": transactions[hour, slug, item],
        }
        for (hour, slug, item), number in hundredths.items()
    ]
    _add(work, _ADD_TOTALS, award_totals, totals)


def ended_of(work: Connection, effect_ids: Sequence[int]) -> list[Ended]:
    """Return those of the effects that have ended, locked until the unit of work ends."""
    return _held(work, _ENDED, effect_ids)


def ending_of(work: Connection, effect_ids: Sequence[int]) -> list[Ended]:
    """Return those of the effects that are in flight, locked likewise; state, reason and end are still to come."""
    return _held(work, _ENDING, effect_ids)


def read_counts(
    work: Connection, query: CountQuery, *, by: Sequence[Dimension], width_micros: int = HOUR_MICROS
) -> dict[tuple[object, ...], int]:
    """Return the counts, grouped by dimensions.

    Args:
        by: The dimensions, in the order in which the keys of the result contain them; a time is an aware datetime.
        width_micros: How wide the buckets of `Dimension.TIME` are; from 1970-01-01 UTC on.
    """
    numbers: Counter[tuple[object, ...]] = Counter()
    is_named = bool(
        query.event_names or query.event_types or {Dimension.EVENT_NAME, Dimension.EVENT_TYPE}.intersection(by)
    )
    width = width_micros if Dimension.TIME in by else DAY_MICROS
    begin, end = to_micros(query.begin), to_micros(query.end)
    filters = _filters_of(query)
    shape = tuple((name, len(values)) for name, values in filters.items())
    values = {f"b_{name}_{number}": value for name, chosen in filters.items() for number, value in enumerate(chosen)}
    for stretch in stretches(work, begin, end, width_micros=width, is_named=is_named):
        statement = count_statement(stretch.level, tuple(by), width_micros, shape)
        period = {"b_begin": from_micros(stretch.begin), "b_end": from_micros(stretch.end)}
        for *group, number in statement.rows(work, {**values, **period}):
            key = tuple(
                from_micros(value) if dimension is Dimension.TIME else value
                for dimension, value in zip(by, group, strict=True)
            )
            numbers[key] += int(number or 0)
    return {key: number for key, number in numbers.items() if number}


def seen_names(work: Connection, *, sources: Sequence[str], since: datetime) -> dict[str, int]:
    """Return the names of the track calls that were received from these sources, and the number of each."""
    names: Counter[str] = Counter()
    for source in sources:
        query = CountQuery(
            begin=since, end=FOR_EVER, source=source, destination="", statuses=[RECEIVED], event_types=["track"]
        )
        counts = read_counts(work, query, by=[Dimension.EVENT_NAME])
        names.update({str(name): number for (name,), number in counts.items() if name != OTHER_NAMES})
    return dict(names)


def counted_names(work: Connection, *, source: str, begin: int, end: int) -> list[str]:
    """Return the distinct event names that are counted for a source in some hours.

    Args:
        begin: Where the first hour begins, microseconds since 1970.
        end: Where the last one ends.
    """
    columns = result_counts.c
    query = select(columns.event_name).where(
        columns.bucket >= from_micros(begin),
        columns.bucket < from_micros(end),
        columns.source == source,
    )
    return list(work.scalars(query.distinct()))


@dataclass(frozen=True, kw_only=True)
class AwardTotal:
    """Units of one item that were delivered for events of one hour."""

    begin: datetime
    destination: str
    item: str
    units: Decimal
    transactions: int


def read_award_totals(work: Connection, *, begin: datetime, end: datetime, destination: str | None) -> list[AwardTotal]:
    """Return what was awarded for the events of a period, by the hour of their receipt."""
    columns = award_totals.c
    chosen = select(award_totals).where(columns.bucket >= _hour(begin), columns.bucket < end)
    if destination is not None:
        chosen = chosen.where(columns.destination == destination)
    return [
        AwardTotal(
            begin=row.bucket,
            destination=row.destination,
            item=row.item,
            units=Decimal(row.hundredths) / 100,
            transactions=row.transactions,
        )
        for row in work.execute(chosen.order_by(columns.bucket))
    ]


def latency_percentile(
    work: Connection, percent: float, *, begin: datetime, end: datetime, destination: str | None
) -> timedelta | None:
    """Return the percentile of the time from receipt to delivery, accurate to ±20 %; None if nothing was delivered."""
    columns = delivery_latencies.c
    chosen = select(columns.band, func.sum(columns.count)).where(columns.bucket >= _hour(begin), columns.bucket < end)
    if destination is not None:
        chosen = chosen.where(columns.destination == destination)
    bands = [(band, int(number)) for band, number in work.execute(chosen.group_by(columns.band).order_by(columns.band))]
    rank = sum(number for _, number in bands) * percent / 100
    reached = 0
    for band, number in bands:
        reached += number
        if reached >= rank and reached > 0:
            return timedelta(milliseconds=2 ** (band / _BANDS_PER_DOUBLING))
    return None


def merge_old_minutes(work: Connection, *, now: datetime, minutes_max: int = 120) -> int:
    """Merge counts older than two days by the hour; returns the number of rows merged."""
    columns = result_counts.c
    micros = type_coerce(columns.bucket, BigInteger)
    old = (columns.bucket < now - MINUTES_KEPT, micros % HOUR_MICROS != 0)
    minutes = work.scalars(select(columns.bucket).where(*old).distinct().order_by(columns.bucket).limit(minutes_max))
    through = max(minutes, default=None)
    if through is None:
        return 0
    chosen = (*old, columns.bucket <= through)
    merged: Counter[CountKey] = Counter()
    rows = work.execute(select(result_counts).where(*chosen)).all()
    for row in rows:
        bucket = to_micros(row.bucket)
        merged[CountKey(bucket - bucket % HOUR_MICROS, *row[1:-1])] += row[-1]
    work.execute(delete(result_counts).where(*chosen))
    _add_rows(work, merged)  # which have the same sums as before
    return len(rows)


def _held(work: Connection, statement: PreparedStatement, effect_ids: Sequence[int]) -> list[Ended]:
    return statement.rows(work, {"b_ids": effect_ids}) if effect_ids else []


def _filters_of(query: CountQuery) -> dict[str, Sequence[str]]:
    """Return the values that are asked for, by column."""
    filters = {
        "source": [] if query.source is None else [query.source],
        "destination": [] if query.destination is None else [query.destination],
        "status": query.statuses,
        "event_name": query.event_names,
        "event_type": query.event_types,
        "reason": query.reasons,
    }
    return {name: [str(value) for value in values] for name, values in filters.items() if values}


def _add(work: Connection, adding: BulkStatement, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    keys = [column.name for column in table.primary_key]
    # In one order everywhere: two processes that add to the same rows must not wait for each other.
    adding.send(work, sorted(rows, key=lambda row: tuple(str(row[key]) for key in keys)))


def _band(latency_micros: int) -> int:
    milliseconds = max(latency_micros / 1000, 1.0)
    return math.ceil(math.log2(milliseconds) * _BANDS_PER_DOUBLING)


def _hour(instant: datetime) -> datetime:
    micros = to_micros(instant)
    return from_micros(micros - micros % HOUR_MICROS)
