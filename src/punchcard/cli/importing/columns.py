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

Further dots go further inside. An empty cell is left out. A mapping may give a column another heading, and the columns
of a warehouse's table are known by theirs.
"""

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from punchcard.cli.importing.amounts import JSON_NUMBER, read_amount
from punchcard.cli.importing.mapping import ImportMapping
from punchcard.cli.importing.warehouse import is_warehouse_table, warehouse_field
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
# Warehouses have it; the import takes it where there is no timestamp.
_TIME_MEMBERS = ("originalTimestamp",)
OBJECT_MEMBERS = ("properties", "traits", "context", "integrations")
# Number properties of Segment's e-commerce spec. Only these, so that an id with leading zeros stays what it is.
_AMOUNTS = frozenset(
    ("revenue", "value", "total", "subtotal", "shipping", "tax", "discount", "price", "quantity", "position")
)
_UNKNOWN_SHOWN_MAX = 20


_NO_MAPPING = ImportMapping()


class CellType(StrEnum):
    """As what a cell goes into the event."""

    TEXT = "text"  # as it stands
    AMOUNT = "amount"  # a number if it is one, else text
    NUMBER = "number"  # a number, else the row is refused
    BOOLEAN = "boolean"  # true or false
    JSON = "json"  # any JSON
    LEFT_OUT = "left_out"  # not at all


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: As the file has it.
        path: Where its cells go: `("context", "traits", "email")`.
        decimal: The decimal sign of its amounts, None if they are JSON numbers.
    """

    heading: str
    path: tuple[str, ...]
    type: CellType
    decimal: str | None = None


class CellError(ValueError):
    """A cell is not what its column's heading says."""


def read_headings(headings: Sequence[str], *, file: str, mapping: ImportMapping = _NO_MAPPING) -> list[Column]:
    """The columns of a file.

    Raises:
        ConfigurationError: headings that nobody knows, all in one line, or that contradict each other.
    """
    names = [heading.strip() for heading in headings]
    problems = _mapping_problems(names, mapping, file=file)
    columns: list[Column] = []
    unknown: list[str] = []
    for name in names:
        column = _mapped_column(name, names, mapping)
        if column is not None:
            columns.append(column)
        elif name not in mapping.columns:
            unknown.append(name)
    if unknown:
        problems.append(f"{file}: {_unknown_columns(unknown)}")
    used = [column for column in columns if column.type is not CellType.LEFT_OUT]
    for index, column in enumerate(used):
        clash = next((other for other in used[:index] if _overlap(other.path, column.path)), None)
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
            return _amount(column, cell)
        case CellType.NUMBER:
            stripped = cell.strip()
            if not JSON_NUMBER.fullmatch(stripped):
                raise CellError(f"{column.heading}: {cell!r} is not a number such as 12 or 9.99")
            return msgspec.Raw(stripped.encode())
        case CellType.BOOLEAN:
            if cell.strip().lower() not in ("true", "false"):
                raise CellError(f"{column.heading}: {cell!r} is neither true nor false")
            return cell.strip().lower() == "true"
        case CellType.JSON:
            return _json(column, cell)
        case CellType.LEFT_OUT:
            raise AssertionError(f"the column {column.heading} is left out")


def set_member(members: dict[str, object], path: tuple[str, ...], value: object) -> None:
    """Set a value inside nested objects, making them on the way."""
    inner = members
    for key in path[:-1]:
        step = inner.setdefault(key, {})
        assert isinstance(step, dict), "headings that contradict each other are refused"
        inner = step
    inner[path[-1]] = value


def _amount(column: Column, cell: str) -> object:
    stripped = cell.strip()
    if column.decimal is None:
        return msgspec.Raw(stripped.encode()) if JSON_NUMBER.fullmatch(stripped) else cell
    number = read_amount(stripped, decimal=column.decimal)
    if number is None and any(character.isdecimal() for character in stripped):
        raise CellError(f"{column.heading}: {cell!r} is not an amount with the decimal sign {column.decimal!r}")
    return cell if number is None else msgspec.Raw(number.encode())


def _mapped_column(name: str, names: Sequence[str], mapping: ImportMapping) -> Column | None:
    """The column with this heading, None if nobody knows it."""
    if name in mapping.columns:
        field = mapping.columns[name]
    elif is_warehouse_table(names) and (_column(name) is None or name == "event"):
        field = warehouse_field(name, names)
    else:
        field = name
        if not field:
            return None
    if not field:
        return Column(name, (), CellType.LEFT_OUT)
    column = _column(field)
    return None if column is None else replace(column, heading=name)


def _mapping_problems(names: Sequence[str], mapping: ImportMapping, *, file: str) -> list[str]:
    problems = [f"{file}: there is no column {name!r} to map" for name in mapping.columns if name not in names]
    problems += [
        f"{file}: column {name!r} is mapped to {field!r}, which is not a field of an event"
        for name, field in mapping.columns.items()
        if name in names and field and _column(field) is None
    ]
    return problems


def _column(heading: str) -> Column | None:
    name, colon, word = heading.rpartition(":")
    cell_type = CellType(word) if colon and word in ("text", "number", "boolean", "json") else None
    path = tuple((name if cell_type else heading).split("."))
    if not all(path):
        return None
    if len(path) == 1:
        if path[0] in (*TEXT_MEMBERS, *_TIME_MEMBERS):
            return Column(heading, path, CellType.TEXT) if cell_type in (None, CellType.TEXT) else None
        return (
            Column(heading, path, CellType.JSON)
            if path[0] in OBJECT_MEMBERS and cell_type in (None, CellType.JSON)
            else None
        )
    if path[0] not in OBJECT_MEMBERS:
        return None
    return Column(heading, path, cell_type or _usual_type(path))


def _usual_type(path: tuple[str, ...]) -> CellType:
    if path[0] == "integrations":
        return CellType.BOOLEAN
    if path[0] == "properties" and len(path) == 2 and path[1] in _AMOUNTS:
        return CellType.AMOUNT
    return CellType.TEXT


def _unknown_columns(names: Sequence[str]) -> str:
    """What to do about columns that nobody knows, in one line however many they are."""
    shown = ", ".join(
        f"{name!r}{_suggest(name)}" if name else "one that has no heading" for name in names[:_UNKNOWN_SHOWN_MAX]
    )
    more = f" and {len(names) - _UNKNOWN_SHOWN_MAX} more" if len(names) > _UNKNOWN_SHOWN_MAX else ""
    example = next((name for name in names if name), "COLUMN")
    mapped, left_out = shlex.quote(f"{example}=properties.{example}"), shlex.quote(f"{example}=")
    are = "column is not known" if len(names) == 1 else "columns are not known"
    return (
        f"{len(names)} {are}: {shown}{more}; say what it is with --map {mapped}, or leave it out with --map {left_out}"
    )


def _suggest(heading: str) -> str:
    spelled = "".join(part.capitalize() if index else part for index, part in enumerate(heading.split("_")))
    near = difflib.get_close_matches(spelled, (*TEXT_MEMBERS, *OBJECT_MEMBERS), n=1, cutoff=0.8)
    return f" (perhaps {near[0]})" if near else ""


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
