"""Confirmation of detected number formats before an import."""

import sys
from collections.abc import Mapping
from dataclasses import replace

from punchcard.cli.confirmation import confirm
from punchcard.cli.importing.amounts import AmountFormat
from punchcard.cli.importing.csv_rows import CsvRows
from punchcard.cli.importing.mapping import ImportMapping
from punchcard.cli.importing.rows import RowReader
from punchcard.errors import PunchcardError

_NAMES = {",": "a decimal comma", ".": "a decimal point"}


def confirm_amounts(reader: RowReader, mapping: ImportMapping, *, is_confirmed: bool) -> ImportMapping:
    """Detect the number formats of a CSV file, show them, and ask for confirmation unless all are plain numbers.

    Args:
        mapping: Mapping of the columns; a decimal sign in it needs no confirmation.
        is_confirmed: True to show the formats without asking.

    Returns:
        The mapping, with the decimal sign if all columns have the same one.

    Raises:
        ConfigurationError: The decimal sign of a column is ambiguous, or there is no terminal for the confirmation.
        PunchcardError: The person declined.
    """
    if not isinstance(reader, CsvRows):
        return mapping
    if mapping.decimal is not None:
        reader.set_decimals({column.heading: mapping.decimal for column in reader.columns()})
        return mapping
    formats = reader.detect_amount_formats()
    if not formats:
        return mapping
    _show(formats)
    if not is_confirmed:
        _confirm()
    reader.set_decimals({column: format_.decimal for column, format_ in formats.items()})
    decimals = {format_.decimal for format_ in formats.values()}
    return replace(mapping, decimal=decimals.pop()) if len(decimals) == 1 else mapping


def _show(formats: Mapping[str, AmountFormat]) -> None:
    for column, format_ in formats.items():
        examples = ", ".join(f"{cell!r} as {number}" for cell, number in format_.examples)
        print(f"Column {column!r} has {_NAMES[format_.decimal]}: {examples}", file=sys.stderr)


def _confirm() -> None:
    if not confirm("Use these formats?", alternative="set --decimal comma or point"):
        raise PunchcardError("Nothing was sent.")
