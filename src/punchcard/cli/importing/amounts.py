"""Parses amounts as spreadsheets write them: decimal commas, thousands separators, currency signs. Nothing is guessed.

`1,234` may be 1234 or 1.234. A column is accepted only if its cells agree on the decimal sign.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

JSON_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
DECIMAL_SIGNS: Final = (".", ",")

_CURRENCY: Final = r"(?:[A-Za-z]{1,3}\.?|[$€£¥₤₣₹₽₩₺₴₪₫฿₱])"
_SIGNED: Final = re.compile(
    rf"(?P<minus>[-−(])?\s*{_CURRENCY}?\s*(?P<minus2>[-−])?\s*(?P<digits>[0-9][0-9.,'’\s]*?)\s*{_CURRENCY}?\s*(?P<end>[-−)])?"
)
_GROUPED: Final = {
    ".": re.compile(r"(?:[0-9]{1,3}(?:([,'’\s])[0-9]{3}(?:\1[0-9]{3})*)|[0-9]+)(?:\.[0-9]+)?"),
    ",": re.compile(r"(?:[0-9]{1,3}(?:([.'’\s])[0-9]{3}(?:\1[0-9]{3})*)|[0-9]+)(?:,[0-9]+)?"),
}
_EXAMPLES_MAX: Final = 4


@dataclass(frozen=True)
class AmountFormat:
    """Number format of a column.

    Attributes:
        decimal: Decimal sign: "." or ",".
        examples: Some cells with their parsed numbers.
    """

    decimal: str
    examples: Sequence[tuple[str, str]]


class AmbiguousAmountsError(ValueError):
    """The decimal sign of a column is ambiguous or inconsistent."""


def read_amount(cell: str, *, decimal: str) -> str | None:
    """Return the number in a cell in JSON notation, None if it is not an amount with this decimal sign."""
    text = cell.strip()
    signed = _SIGNED.fullmatch(text)
    if signed is None or (signed["minus"] == "(") != (signed["end"] == ")"):
        return None
    digits = signed["digits"].strip()
    if _GROUPED[decimal].fullmatch(digits) is None:
        return None
    whole, _, fraction = digits.partition(decimal)
    whole = re.sub(r"[^0-9]", "", whole).lstrip("0") or "0"
    minuses = sum(bool(signed[name]) for name in ("minus", "minus2")) + (signed["end"] in ("-", "−"))
    if minuses > 1:
        return None
    return f"{'-' if minuses else ''}{whole}{'.' + fraction if fraction else ''}"


def detect_format(cells: Iterable[str]) -> AmountFormat | None:
    """Return the number format of a column, None if all cells are JSON numbers or no cell is an amount.

    Args:
        cells: Cells that are not empty.

    Raises:
        AmbiguousAmountsError: The decimal sign is ambiguous or inconsistent.
    """
    signs = set(DECIMAL_SIGNS)
    odd: list[str] = []
    witnesses: dict[str, str] = {}
    for cell in dict.fromkeys(cells):
        readable = {sign for sign in DECIMAL_SIGNS if read_amount(cell, decimal=sign) is not None}
        if not readable:
            continue  # not an amount: it stays text, and the mapping refuses it with a reason
        if not JSON_NUMBER.fullmatch(cell.strip()):
            odd.append(cell)
        if len(readable) == 1:
            witnesses.setdefault(next(iter(readable)), cell)
        signs &= readable
    if not odd:
        return None
    if not signs:
        raise AmbiguousAmountsError(f"{witnesses['.']!r} has a decimal point and {witnesses[',']!r} a decimal comma")
    differing = next((cell for cell in odd if read_amount(cell, decimal=".") != read_amount(cell, decimal=",")), None)
    if len(signs) == 2 and differing is not None:
        raise AmbiguousAmountsError(
            f"{differing!r} may be {read_amount(differing, decimal='.')} or {read_amount(differing, decimal=',')}"
        )
    decimal = "." if "." in signs else ","
    examples = [(cell, read_amount(cell, decimal=decimal) or "") for cell in odd[:_EXAMPLES_MAX]]
    return AmountFormat(decimal, examples)
