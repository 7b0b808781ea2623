"""Meaning of column headings: the field of the event and the type of its cells.

========================  =============================================================================================
heading                   cells
========================  =============================================================================================
`event`, `userId` …       members of the event, always text
`properties.revenue` …    amounts of the e-commerce spec: numbers, digit by digit as in the file; a cell that is not a
                          JSON number stays text, and the mapping decides
`properties.order_id` …   anything else in `properties`, `traits`, `context`: text
`integrations.NAME`       true or false, for one destination
`properties.x:number`     explicit type: `:number`, `:boolean`, `:json` or `:text`
`properties`              a whole object as JSON, also `traits`, `context`, `integrations`
========================  =============================================================================================

More dots mean nested members. Empty cells are ignored. A mapping may rename columns, and the columns of warehouse
tables are recognized.
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
# Warehouse tables have it; the import uses it if there is no timestamp.
_TIME_MEMBERS = ("originalTimestamp",)
OBJECT_MEMBERS = ("properties", "traits", "context", "integrations")
# Number properties of Segment's e-commerce spec. No others, so that ids with leading zeros stay unchanged.
_AMOUNTS = frozenset(
    ("revenue", "value", "total", "subtotal", "shipping", "tax", "discount", "price", "quantity", "position")
)
_UNKNOWN_SHOWN_MAX = 20


_NO_MAPPING = ImportMapping()


class CellType(StrEnum):
    """Type of a column's cells."""

    TEXT = "text"  # unchanged
    AMOUNT = "amount"  # a number if possible, else text
    NUMBER = "number"  # a number, else the row is refused
    BOOLEAN = "boolean"  # true or false
    JSON = "json"  # any JSON
    IGNORED = "ignored"  # not imported


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: Heading in the file.
        path: Path of the field in the event: `("context", "traits", "email")`.
        decimal: Decimal sign of its amounts, None if they are JSON numbers.
    """

    heading: str
    path: tuple[str, ...]
    type: CellType
    decimal: str | None = None


class CellError(ValueError):
    """A cell does not have the type of its column."""


def read_headings(headings: Sequence[str], *, file: str, mapping: ImportMapping = _NO_MAPPING) -> list[Column]:
    """Return the columns of a file.

    Raises:
        ConfigurationError: Headings are unknown (all in one line) or contradict each other.
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
    used = [column for column in columns if column.type is not CellType.IGNORED]
    for index, column in enumerate(used):
        clash = next((other for other in used[:index] if _overlap(other.path, column.path)), None)
        if clash is not None:
            problems.append(f"{file}: Columns {column.heading!r} and {clash.heading!r} are mapped to the same field.")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return columns


def read_cell(column: Column, cell: str) -> object:
    """Return the value of a text cell in the event.

    Raises:
        CellError: The cell does not have the type of its column.
    """
    match column.type:
        case CellType.TEXT:
            return cell
        case CellType.AMOUNT:
            return _amount(column, cell)
        case CellType.NUMBER:
            stripped = cell.strip()
            if not JSON_NUMBER.fullmatch(stripped):
                raise CellError(f"{column.heading}: {cell!r} is not a number such as 12 or 9.99.")
            return msgspec.Raw(stripped.encode())
        case CellType.BOOLEAN:
            if cell.strip().lower() not in ("true", "false"):
                raise CellError(f"{column.heading}: {cell!r} is neither true nor false.")
            return cell.strip().lower() == "true"
        case CellType.JSON:
            return _json(column, cell)
        case CellType.IGNORED:
            raise AssertionError(f"The column {column.heading} is ignored.")


def set_member(members: dict[str, object], path: tuple[str, ...], value: object) -> None:
    """Set a value in nested objects, creating them as needed."""
    inner = members
    for key in path[:-1]:
        step = inner.setdefault(key, {})
        assert isinstance(step, dict), "contradicting headings are refused"
        inner = step
    inner[path[-1]] = value


def _amount(column: Column, cell: str) -> object:
    stripped = cell.strip()
    if column.decimal is None:
        return msgspec.Raw(stripped.encode()) if JSON_NUMBER.fullmatch(stripped) else cell
    number = read_amount(stripped, decimal=column.decimal)
    if number is None and any(character.isdecimal() for character in stripped):
        raise CellError(f"{column.heading}: {cell!r} is not an amount with the decimal sign {column.decimal!r}.")
    return cell if number is None else msgspec.Raw(number.encode())


def _mapped_column(name: str, names: Sequence[str], mapping: ImportMapping) -> Column | None:
    """Return the column with this heading, None if it is unknown."""
    if name in mapping.columns:
        field = mapping.columns[name]
    elif is_warehouse_table(names) and (_column(name) is None or name == "event"):
        field = warehouse_field(name, names)
    else:
        field = name
        if not field:
            return None
    if not field:
        return Column(name, (), CellType.IGNORED)
    column = _column(field)
    return None if column is None else replace(column, heading=name)


def _mapping_problems(names: Sequence[str], mapping: ImportMapping, *, file: str) -> list[str]:
    problems = [f"{file}: There is no column {name!r} to map." for name in mapping.columns if name not in names]
    problems += [
        f"{file}: Column {name!r} is mapped to {field!r}, which is not a field of an event."
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
    """Return a message about unknown columns, in one line."""
    listed = ", ".join(
        f"{name!r}{_suggest(name)}" if name else "a column without a heading" for name in names[:_UNKNOWN_SHOWN_MAX]
    )
    more = f" and {len(names) - _UNKNOWN_SHOWN_MAX} more" if len(names) > _UNKNOWN_SHOWN_MAX else ""
    example = next((name for name in names if name), "COLUMN")
    mapped, ignored = shlex.quote(f"{example}=properties.{example}"), shlex.quote(f"{example}=")
    subject = "column is unknown" if len(names) == 1 else "columns are unknown"
    return (
        f"{len(names)} {subject}: {listed}{more}. Map a column with --map {mapped}, or ignore it with --map {ignored}."
    )


def _suggest(heading: str) -> str:
    spelled = "".join(part.capitalize() if index else part for index, part in enumerate(heading.split("_")))
    near = difflib.get_close_matches(spelled, (*TEXT_MEMBERS, *OBJECT_MEMBERS), n=1, cutoff=0.8)
    return f" (perhaps {near[0]})" if near else ""


def _overlap(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def _json(column: Column, cell: str) -> object:
    try:
        # Decoded only to see that it is JSON; the text itself is sent, digit by digit.
        value = msgspec.json.decode(cell)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise CellError(f"{column.heading}: is not JSON: {error}") from error
    if len(column.path) == 1 and not isinstance(value, dict):
        raise CellError(f"{column.heading}: expected a JSON object, not {cell[:40]!r}")
    return msgspec.Raw(cell.encode())
