"""The query for a list of events, in a form that lets DuckDB skip what cannot match."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from punchcard.lake.conditions import Value, beyond_place, join_conditions, time_range
from punchcard.lake.data_file import DataFile


@dataclass(frozen=True, kw_only=True)
class EventQuery:
    """Selects events; None and "" select all.

    Attributes:
        destination: With `status` and `reason` it selects one result; "" for a result before any destination.
        status: A result as decided by routing.
        begin: Only events received at or after this instant.
        end: Only events received before this instant.
        note: Only events with a note that begins with this text.
        days: UTC days of receipt; no matching event was received on any other day. None if that is not known.
    """

    source: str | None = None
    type: str | None = None
    name: str | None = None
    destination: str | None = None
    status: str | None = None
    reason: str | None = None
    begin: datetime | None = None
    end: datetime | None = None
    note: str | None = None
    days: Collection[date] | None = None

    def note_text(self) -> str:
        """Return the text that the notes of each matching event contain, "" for any."""
        return "" if not self.note else _json(self.note)[:-1]

    def result_text(self) -> str:
        """Return the text that the results of each matching event contain, "" for any."""
        if self.status is None:
            return ""
        status = f'"status":{_json(self.status)}'
        reason = "" if self.reason is None else f',"reason":{_json(self.reason or None)}'
        return (
            ("" if self.destination is None else f'"destination":{_json(self.destination or None)},') + status + reason
        )


def where_clause(query: EventQuery, before: tuple[int, int] | None) -> tuple[str, list[Value]]:
    """Return the condition in SQL with its values; `before` selects only events before a place in the log."""
    columns = (
        ("source = ?", query.source),
        ("type = ?", query.type),
        ("event = ?", query.name),
        ("contains(results, ?)", query.result_text() or None),
        ("contains(notes, ?)", query.note_text() or None),
    )
    conditions: list[tuple[str, Sequence[Value]]] = [(sql, [value]) for sql, value in columns if value is not None]
    return join_conditions([*conditions, *time_range("received_at", query.begin, query.end), *beyond_place(before)])


def may_hold(file: DataFile, query: EventQuery, before: tuple[int, int] | None) -> bool:
    """Return whether a file may hold matching events, by its statistics in the table's log."""
    return (
        (query.begin is None or file.day >= query.begin.date())
        and (query.end is None or file.day <= query.end.date())
        and (query.days is None or file.day in query.days)
        and (before is None or file.first_position <= before[0])
    )


def _json(value: str | None) -> str:
    return msgspec.json.encode(value).decode()
