"""What a person confirms before an import: how amounts are read that are not plain numbers."""

import sys
from collections.abc import Mapping
from dataclasses import replace

from punchcard.cli.importing.amounts import AmountFormat
from punchcard.cli.importing.csv_rows import CsvRows
from punchcard.cli.importing.mapping import ImportMapping
from punchcard.cli.importing.rows import RowReader
from punchcard.errors import ConfigurationError, PunchcardError

_NAMES = {",": "a decimal comma", ".": "a decimal point"}


def confirm_amounts(reader: RowReader, mapping: ImportMapping, *, is_confirmed: bool) -> ImportMapping:
    """Find out how the amounts of a CSV file are written, show it, and ask; nothing if they are plain numbers.

    Args:
        mapping: With a decimal sign in it nothing is asked.
        is_confirmed: True to show it, and not to ask.

    Returns:
        The mapping with the decimal sign, if all columns agree on one: for the next file.

    Raises:
        ConfigurationError: the amounts of a column could be read in two ways, or nobody is there to be asked.
        PunchcardError: the person said no.
    """
    if not isinstance(reader, CsvRows):
        return mapping
    if mapping.decimal is not None:
        reader.read_amounts({column.heading: mapping.decimal for column in reader.columns()})
        return mapping
    readings = reader.amount_readings()
    if not readings:
        return mapping
    _show(readings)
    if not is_confirmed:
        _confirm()
    reader.read_amounts({column: reading.decimal for column, reading in readings.items()})
    decimals = {reading.decimal for reading in readings.values()}
    return replace(mapping, decimal=decimals.pop()) if len(decimals) == 1 else mapping


def _show(readings: Mapping[str, AmountFormat]) -> None:
    for column, reading in readings.items():
        examples = ", ".join(f"{cell!r} as {number}" for cell, number in reading.examples)
        print(f"Column {column!r} has {_NAMES[reading.decimal]}: {examples}", file=sys.stderr)


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError("confirm this reading of the amounts with --yes, or say --decimal comma or point")
    import typer

    if not typer.confirm("Read the amounts like this?", err=True):
        raise PunchcardError("nothing was sent")
