"""What the heading of a column means: where its cells go in the event, and as what.

========================  =============================================================================================
heading                   cells
========================  =============================================================================================
`event`, `userId` …       members of the event, always text
`properties.revenue` …    amounts of the e-commerce spec: numbers, digit by digit as they stand in the file; a cell
                          that is no JSON number stays text, and the rules decide
`properties.order_id` …   anything else under `properties`, `traits`, `context`: text
`integrations.Perkville`  true or false
`properties.x:number`     as said: `:number`, `:boolean`, `:json` or `:text`
`properties`              a whole object as JSON, also `traits`, `context`, `integrations`
========================  =============================================================================================

Further dots go further inside. An empty cell is left out.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from punchcard.errors import ConfigurationError

TEXT_MEMBERS = (
    "type",
    "event",
    "userId",
    "anonymousId",
    "timestamp",
    "messageId",
    "groupId",
    "previousId",
    "name",
    "category",
    "email",
)
OBJECT_MEMBERS = ("properties", "traits", "context", "integrations")
# Number properties of Segment's e-commerce spec. Only these, so that an id with leading zeros stays what it is.
_AMOUNTS = frozenset(
    ("revenue", "value", "total", "subtotal", "shipping", "tax", "discount", "price", "quantity", "position")
)
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class CellType(StrEnum):
    """As what a cell goes into the event."""

    TEXT = "text"  # as it stands
    AMOUNT = "amount"  # a number if it is one, else text
    NUMBER = "number"  # a number, else the row is refused
    BOOLEAN = "boolean"  # true or false
    JSON = "json"  # any JSON


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        path: Where its cells go: `("context", "traits", "email")`.
    """

    heading: str
    path: tuple[str, ...]
    type: CellType


class CellError(ValueError):
    """A cell is not what its column's heading says."""


def read_headings(headings: Sequence[str], *, file: str) -> list[Column]:
    """The columns of a file.

    Raises:
        ConfigurationError: headings that nobody knows or that contradict each other; one line each.
    """
    columns: list[Column] = []
    problems: list[str] = []
    for heading in headings:
        column = _column(heading.strip())
        if column is None:
            problems.append(f"{file}: column {heading!r}: {_hint(heading.strip())}")
        else:
            columns.append(column)
    paths = [column.path for column in columns]
    for index, column in enumerate(columns):
        clash = next((one for one in columns[:index] if _overlap(one.path, paths[index])), None)
        if clash is not None:
            problems.append(f"{file}: column {column.heading!r} says the same as column {clash.heading!r}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return columns


def read_cell(column: Column, cell: str) -> object:
    """A cell of text as the value that goes into the event.

    Raises:
        CellError: it is not what its heading says.
    """
    match column.type:
        case CellType.TEXT:
            return cell
        case CellType.AMOUNT:
            stripped = cell.strip()
            return msgspec.Raw(stripped.encode()) if _JSON_NUMBER.fullmatch(stripped) else cell
        case CellType.NUMBER:
            stripped = cell.strip()
            if not _JSON_NUMBER.fullmatch(stripped):
                raise CellError(f"{column.heading}: {cell!r} is not a number such as 12 or 9.99")
            return msgspec.Raw(stripped.encode())
        case CellType.BOOLEAN:
            if cell.strip().lower() not in ("true", "false"):
                raise CellError(f"{column.heading}: {cell!r} is neither true nor false")
            return cell.strip().lower() == "true"
        case CellType.JSON:
            return _json(column, cell)


def put(members: dict[str, object], path: tuple[str, ...], value: object) -> None:
    """Set a value inside nested objects, making them on the way."""
    inner = members
    for key in path[:-1]:
        step = inner.setdefault(key, {})
        assert isinstance(step, dict), "headings that contradict each other are refused"
        inner = step
    inner[path[-1]] = value


def _column(heading: str) -> Column | None:
    name, colon, word = heading.rpartition(":")
    said = CellType(word) if colon and word in ("text", "number", "boolean", "json") else None
    path = tuple((name if said else heading).split("."))
    if not all(path):
        return None
    if len(path) == 1:
        if path[0] in TEXT_MEMBERS:
            return Column(heading, path, CellType.TEXT) if said in (None, CellType.TEXT) else None
        return (
            Column(heading, path, CellType.JSON)
            if path[0] in OBJECT_MEMBERS and said in (None, CellType.JSON)
            else None
        )
    if path[0] not in OBJECT_MEMBERS:
        return None
    return Column(heading, path, said or _usual_type(path))


def _usual_type(path: tuple[str, ...]) -> CellType:
    if path[0] == "integrations":
        return CellType.BOOLEAN
    if path[0] == "properties" and len(path) == 2 and path[1] in _AMOUNTS:
        return CellType.AMOUNT
    return CellType.TEXT


def _hint(heading: str) -> str:
    if not heading:
        return "has no heading"
    spelled = "".join(part.capitalize() if index else part for index, part in enumerate(heading.split("_")))
    near = difflib.get_close_matches(spelled, (*TEXT_MEMBERS, *OBJECT_MEMBERS), n=1, cutoff=0.8)
    if near:
        return f"is not known; perhaps {near[0]}"
    return f"is not known; what describes the event is called properties.{heading}"


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _json(column: Column, cell: str) -> object:
    try:
        # Decoded only to see that it is JSON; the text itself is sent, digit by digit.
        value = msgspec.json.decode(cell)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise CellError(f"{column.heading}: is not JSON: {error}") from error
    if len(column.path) == 1 and not isinstance(value, dict):
        raise CellError(f"{column.heading}: expected a JSON object, not {cell[:40]!r}")
    return msgspec.Raw(cell.encode())
