"""The question for a list of events, in the form in which DuckDB passes over what cannot match."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from punchcard.lake.conditions import Value, beyond, joined, within
from punchcard.lake.data_file import DataFile


@dataclass(frozen=True, kw_only=True)
class EventQuery:
    """Which events are asked for; None and "" ask for all.

    Attributes:
        destination: Together with `status` and `reason` it names one result; "" for a result before any destination.
        status: A result as routing decided it.
        begin: Not received before this instant.
        end: Received before this instant.
    """

    source: str | None = None
    type: str | None = None
    name: str | None = None
    destination: str | None = None
    status: str | None = None
    reason: str | None = None
    begin: datetime | None = None
    end: datetime | None = None

    def result_text(self) -> str:
        """What stands in the results of each event that is asked for, "" if any does."""
        if self.status is None:
            return ""
        status = f'"fate":{_json(self.status)}'
        reason = "" if self.reason is None else f',"reason":{_json(self.reason or None)}'
        return (
            ("" if self.destination is None else f'"destination":{_json(self.destination or None)},') + status + reason
        )


def where_of(query: EventQuery, before: tuple[int, int] | None) -> tuple[str, list[Value]]:
    """The condition in SQL, with its values; `before` is the place of an event: only earlier ones are asked for."""
    named = (
        ("source = ?", query.source),
        ("type = ?", query.type),
        ("event = ?", query.name),
        ("contains(fates, ?)", query.result_text() or None),
    )
    conditions: list[tuple[str, Sequence[Value]]] = [(sql, [value]) for sql, value in named if value is not None]
    return joined([*conditions, *within("received_at", query.begin, query.end), *beyond(before)])


def may_hold(file: DataFile, query: EventQuery, before: tuple[int, int] | None) -> bool:
    """Whether a file may hold what is asked for, by what the table's log says of it."""
    return (
        (query.begin is None or file.day >= query.begin.date())
        and (query.end is None or file.day <= query.end.date())
        and (before is None or file.first_position <= before[0])
    )


def _json(value: str | None) -> str:
    return msgspec.json.encode(value).decode()
