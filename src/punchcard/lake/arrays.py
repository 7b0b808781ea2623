"""Columns of events as Arrow arrays. A value that Arrow cannot represent is left out; the others are kept."""

import datetime
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog

from punchcard.clock import EPOCH
from punchcard.events.commerce import rounded_amount

if TYPE_CHECKING:
    import pyarrow as pa

_log = structlog.get_logger("punchcard.lake")


def build(make: Callable[[Sequence[Any]], "pa.Array"], values: Sequence[Any], *, column: str) -> "pa.Array":
    """Build a column with one of the functions below; a value that cannot be represented becomes null."""
    import pyarrow as pa

    refused = (pa.ArrowException, ArithmeticError, TypeError, ValueError)
    try:
        return make(values)
    except refused as error:
        _log.warning("lake_values_left_out", column=column, error=repr(error))

    def fits(value: object) -> bool:
        try:
            make([value])
        except refused:
            return False
        return True

    return make([value if fits(value) else None for value in values])


def text(values: Sequence[str | bytes | None]) -> "pa.Array":
    """Build texts; invalid Unicode is replaced."""
    import pyarrow as pa

    try:
        return pa.array(values, type=pa.string())
    except (pa.ArrowInvalid, UnicodeEncodeError):
        # One text that is not Unicode must not keep the others out of the lake.
        return pa.array([_replace_invalid(value) for value in values], type=pa.string())


def _replace_invalid(value: str | bytes | None) -> str | None:
    if value is None:
        return None
    return (value.encode(errors="replace") if isinstance(value, str) else value).decode(errors="replace")


def dictionary(values: Sequence[str | None]) -> "pa.Array":
    """Build texts that repeat."""
    import pyarrow as pa

    # Python caches the hash of a text object; Arrow would read the text each time.
    numbers: dict[str, int] = {}
    indices = [None if value is None else numbers.setdefault(value, len(numbers)) for value in values]
    return pa.DictionaryArray.from_arrays(pa.array(indices, type=pa.int32()), text(list(numbers)))


def instants(values: Sequence[datetime.datetime | None]) -> "pa.Array":
    """Build instants from aware datetimes, exact to the microsecond."""
    import pyarrow as pa

    # Arrow converts time differences four times as fast as aware datetimes.
    since = pa.array([None if value is None else value - EPOCH for value in values], type=pa.duration("us"))
    return since.view(pa.timestamp("us", tz="UTC"))


def micros(values: Sequence[int]) -> "pa.Array":
    """Build instants from microseconds since 1970."""
    import pyarrow as pa

    return pa.array(values, type=pa.int64()).view(pa.timestamp("us", tz="UTC"))


def amounts(values: Sequence[Decimal | None]) -> "pa.Array":
    """Build decimals with nine places; amounts with more are rounded, those that are too large are left out."""
    import pyarrow as pa

    kind = pa.decimal128(38, 9)
    try:
        return pa.array(values, type=kind)
    except pa.ArrowInvalid:  # more places, too large, no number
        return pa.array([None if value is None else rounded_amount(value) for value in values], type=kind)


def lists(values: Sequence[list[str] | None]) -> "pa.Array":
    """Build lists of texts."""
    import pyarrow as pa

    return pa.array(values, type=pa.list_(pa.string()))


def int64(values: Sequence[int]) -> "pa.Array":
    """Build whole numbers."""
    import pyarrow as pa

    return pa.array(values, type=pa.int64())


def int32(values: Sequence[int]) -> "pa.Array":
    """Build small whole numbers."""
    import pyarrow as pa

    return pa.array(values, type=pa.int32())


def types(values: Sequence[str]) -> "pa.Array":
    """Build the event types."""
    # The hash of an enum is slow, so Arrow finds the few values.
    return text(values).dictionary_encode()
