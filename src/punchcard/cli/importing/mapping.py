"""What a person says about a file's columns: by options, or by a mapping file that is used again.

::

    event = "Order Completed"           # of rows that name none
    decimal = ","                       # the decimal sign of amounts

    [columns]
    "Order No" = "properties.order_id"
    "Notes" = ""                        # left out
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from punchcard.cli.importing.amounts import DECIMAL_SIGNS
from punchcard.errors import ConfigurationError

_KEYS: Final = ("columns", "event", "decimal")
_DECIMAL_WORDS: Final = {"comma": ",", "point": "."}


@dataclass(frozen=True, kw_only=True)
class ImportMapping:
    """How the columns of a file become members of events.

    Attributes:
        columns: Field by column; an empty field leaves the column out.
        event: Name of the event for rows that name none.
        decimal: The decimal sign of amounts, None to find out.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    event: str | None = None
    decimal: str | None = None


def read_mapping(*, file: Path | None, columns: Sequence[str], event: str | None, decimal: str | None) -> ImportMapping:
    """The mapping that options say, over what a file says.

    Args:
        file: A mapping file.
        columns: Each as `COLUMN=FIELD`.
        decimal: `comma` or `point`.

    Raises:
        ConfigurationError: the file or an option is wrong.
    """
    saved = ImportMapping() if file is None else _read_file(file)
    mapped = dict(saved.columns)
    for option in columns:
        column, sign, target = option.rpartition("=")
        if not sign or not column.strip():
            raise ConfigurationError(
                f"--map {option}: expected COLUMN=FIELD, e.g. --map 'Order No=properties.order_id'"
            )
        mapped[column.strip()] = target.strip()
    if decimal is not None and decimal not in _DECIMAL_WORDS:
        raise ConfigurationError(f"--decimal {decimal}: expected comma or point")
    return ImportMapping(
        columns=mapped,
        event=event or saved.event,
        decimal=_DECIMAL_WORDS[decimal] if decimal else saved.decimal,
    )


def save_mapping(mapping: ImportMapping, file: Path) -> None:
    """Write the mapping so that `read_mapping` reads it again.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    import tomli_w

    content: dict[str, Any] = {
        name: value for name, value in (("event", mapping.event), ("decimal", mapping.decimal)) if value is not None
    }
    content["columns"] = dict(mapping.columns)
    try:
        file.write_text(tomli_w.dumps(content), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--save-mapping {file}: {error.strerror}") from error


def _read_file(file: Path) -> ImportMapping:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"--mapping {file}: cannot be read: {error}") from error
    unknown = [key for key in content if key not in _KEYS]
    columns, event, decimal = content.get("columns", {}), content.get("event"), content.get("decimal")
    if unknown:
        raise ConfigurationError(f"--mapping {file}: {', '.join(unknown)}: not known; expected {', '.join(_KEYS)}")
    if not isinstance(columns, dict) or not all(isinstance(target, str) for target in columns.values()):
        raise ConfigurationError(
            f'--mapping {file}: columns: expected texts such as "Order No" = "properties.order_id"'
        )
    if event is not None and not isinstance(event, str):
        raise ConfigurationError(f"--mapping {file}: event: expected a text")
    if decimal not in (None, *DECIMAL_SIGNS):
        raise ConfigurationError(f'--mapping {file}: decimal: expected "," or "."')
    return ImportMapping(columns=columns, event=event, decimal=decimal)
