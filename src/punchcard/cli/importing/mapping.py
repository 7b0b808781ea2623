"""Mapping of a file's columns, from options or a mapping file.

::

    event = "Order Completed"           # for rows without an event name
    decimal = ","                       # decimal sign of amounts

    [columns]
    "Order No" = "properties.order_id"
    "Notes" = ""                        # ignored
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from punchcard.cli.importing.amounts import DECIMAL_SIGNS
from punchcard.errors import ConfigurationError
from punchcard.workspace.toml_text import TomlError, parse_toml

_KEYS: Final = ("columns", "event", "decimal")
_DECIMAL_WORDS: Final = {"comma": ",", "point": "."}


@dataclass(frozen=True, kw_only=True)
class ImportMapping:
    """Mapping of the columns of a file to fields of events.

    Attributes:
        columns: Field by column; a column with an empty field is ignored.
        event: Event name for rows without one.
        decimal: Decimal sign of amounts, None to detect it.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    event: str | None = None
    decimal: str | None = None


def read_mapping(*, file: Path | None, columns: Sequence[str], event: str | None, decimal: str | None) -> ImportMapping:
    """Return the mapping in a file, overridden by options.

    Args:
        file: Mapping file.
        columns: Options of the form `COLUMN=FIELD`.
        decimal: `comma` or `point`.

    Raises:
        ConfigurationError: The file or an option is invalid.
    """
    saved = ImportMapping() if file is None else _read_file(file)
    mapped = dict(saved.columns)
    for option in columns:
        column, sign, target = option.rpartition("=")
        if not sign or not column.strip():
            raise ConfigurationError(f"--map {option}: Use COLUMN=FIELD, e.g. --map 'Order No=properties.order_id'.")
        mapped[column.strip()] = target.strip()
    if decimal is not None and decimal not in _DECIMAL_WORDS:
        raise ConfigurationError(f"--decimal {decimal}: Use comma or point.")
    return ImportMapping(
        columns=mapped,
        event=event or saved.event,
        decimal=_DECIMAL_WORDS[decimal] if decimal else saved.decimal,
    )


def save_mapping(mapping: ImportMapping, file: Path) -> None:
    """Write the mapping to a file for `read_mapping`.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    import tomli_w

    content: dict[str, Any] = {
        name: value for name, value in (("event", mapping.event), ("decimal", mapping.decimal)) if value is not None
    }
    content["columns"] = dict(mapping.columns)
    try:
        file.write_text(tomli_w.dumps(content), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--save-mapping {file}: {error.strerror}.") from error


def _read_file(file: Path) -> ImportMapping:
    try:
        content = parse_toml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TomlError) as error:
        raise ConfigurationError(f"--mapping {file}: The file cannot be read: {error}.") from error
    unknown = [key for key in content if key not in _KEYS]
    columns, event, decimal = content.get("columns", {}), content.get("event"), content.get("decimal")
    if unknown:
        raise ConfigurationError(
            f"--mapping {file}: {', '.join(unknown)}: Unknown key. Known keys: {', '.join(_KEYS)}."
        )
    if not isinstance(columns, dict) or not all(isinstance(target, str) for target in columns.values()):
        raise ConfigurationError(f'--mapping {file}: columns: Use texts such as "Order No" = "properties.order_id".')
    if event is not None and not isinstance(event, str):
        raise ConfigurationError(f"--mapping {file}: event: Must be text.")
    if decimal not in (None, *DECIMAL_SIGNS):
        raise ConfigurationError(f'--mapping {file}: decimal: Use "," or ".".')
    return ImportMapping(columns=columns, event=event, decimal=decimal)
