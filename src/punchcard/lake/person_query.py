"""The question for one person's events, in the form in which DuckDB finds them by Bloom filter.

DuckDB asks a column's Bloom filters where that column alone is compared with one value. So each id is a select of its
own: of 12 files with 780,000 events, seven ids are found in 50 to 130 ms, where one `OR` over three columns reads all
of it in 310 ms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from punchcard.lake.conditions import Value, beyond, joined, within
from punchcard.lake.data_file import DataFile

PAGE_VIEWED: Final = "Page Viewed"
SCREEN_VIEWED: Final = "Screen Viewed"

IDS_AT_ONCE: Final = 50
"""How many selects DuckDB gets as one; whoever has more ids is asked for in several."""

_NAME = f"CASE type WHEN 'page' THEN '{PAGE_VIEWED}' WHEN 'screen' THEN '{SCREEN_VIEWED}' ELSE coalesce(event, '') END"


@dataclass(frozen=True, kw_only=True)
class PersonQuery:
    """Whose events, and which of them; an event is a person's if one of the ids stands in it.

    Attributes:
        emails: Lower-cased.
        names: None for all. Page and screen calls are `Page Viewed` and `Screen Viewed`.
        names_left_out: Events that are not asked for.
        begin: None that happened before this instant.
        end: Only what happened before this instant.
        oldest_first: In the log's order instead of from its end.
    """

    emails: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    anonymous_ids: Sequence[str] = ()
    names: Sequence[str] | None = None
    names_left_out: Sequence[str] = ()
    begin: datetime | None = None
    end: datetime | None = None
    oldest_first: bool = False

    @property
    def ids(self) -> list[tuple[str, str]]:
        """Each id with its column."""
        columns = {"email": self.emails, "user_id": self.user_ids, "anonymous_id": self.anonymous_ids}
        return [(column, value) for column, values in columns.items() for value in dict.fromkeys(values)]


def statements(
    query: PersonQuery, select: str, *, paths: Sequence[str], limit: int, place: tuple[int, int] | None
) -> Iterator[tuple[str, list[Value]]]:
    """The statements that find the first events, each with its values; each event once in a statement.

    Args:
        select: From the files that its one value names.
        place: Log position and index of an event; only what lies behind it in the order asked for.
    """
    direction = "ASC" if query.oldest_first else "DESC"
    order = f"ORDER BY log_position {direction}, event_index {direction} LIMIT ?"
    where, values = _where(query, place)
    ids = query.ids
    for first in range(0, len(ids), IDS_AT_ONCE):
        branches: list[str] = []
        given: list[Value] = []
        for column, value in ids[first : first + IDS_AT_ONCE]:
            branches.append(f"({select} WHERE {column} = ? AND {where} {order})")
            given += [paths, value, *values, limit]
        all_ids = " UNION ALL ".join(branches)
        yield f"SELECT DISTINCT ON (log_position, event_index) * FROM ({all_ids}) {order}", [*given, limit]


def may_lie_beyond(file: DataFile, place: tuple[int, int] | None, *, oldest_first: bool) -> bool:
    """False for a file that holds nothing behind that place."""
    if place is None:
        return True
    return file.last_position >= place[0] if oldest_first else file.first_position <= place[0]


def _where(query: PersonQuery, place: tuple[int, int] | None) -> tuple[str, list[Value]]:
    conditions: list[tuple[str, Sequence[Value]]] = []
    if query.names is not None:
        conditions.append((f"list_contains(?, {_NAME})", [query.names]))
    if query.names_left_out:
        conditions.append((f"NOT list_contains(?, {_NAME})", [query.names_left_out]))
    conditions += within("timestamp", query.begin, query.end)
    return joined([*conditions, *beyond(place, oldest_first=query.oldest_first)])
