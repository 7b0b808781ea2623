"""The operators and functions of the filter language.

Types are strict: a comparison of two types is false, and a function returns null or false for an unsupported value.

Source: Segment's documentation, "Destination Filters Query Language"; where it is silent, its open-source evaluator.
"""

import operator
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

_GLOBS_REMEMBERED: Final = 1_000
_FIXED_FROM: Final = 1e-6
_FIXED_BELOW: Final = 1e21
_DOUBLE_MAX: Final = sys.float_info.max
_VERSION_PARTS_MAX: Final = 3
_VERSION_PART: Final = re.compile(r"\s*([+-]?[0-9]+)")
VERSION_OPERATORS: Final[dict[str, Callable[[tuple[float, ...], tuple[float, ...]], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
TYPE_NAMES: Final = ("string", "number", "list", "bool", "null", "object")
_encoder = msgspec.json.Encoder()


def is_number(value: object) -> bool:
    """Return whether the value is a number; true and false are not."""
    return value.__class__ is int or value.__class__ is float


def equal(left: object, right: object) -> bool:
    """Return whether both values have the same type and are equal.

    Lists and objects are equal if they are written the same way: in this order, and with numbers in any notation.
    """
    if is_number(left) and is_number(right):
        return left == right
    if left.__class__ is not right.__class__:
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(map(equal, left.values(), right.values()))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


def ordered(left: object, right: object) -> bool:
    """Return whether the two can be ordered: two numbers, or (beyond Segment's documentation) two texts."""
    return (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str))


def less(left: object, right: object) -> bool:
    """Return whether left is smaller."""
    return ordered(left, right) and left < right  # type: ignore[operator]


def less_or_equal(left: object, right: object) -> bool:
    """Return whether left is smaller or equal."""
    return ordered(left, right) and left <= right  # type: ignore[operator]


def is_in(value: object, items: object) -> bool:
    """Return whether the list contains the value; false if it is not a list."""
    return isinstance(items, list) and any(equal(value, item) for item in items)


def contains(text: object, part: object) -> bool:
    """Return whether the text contains the part."""
    return isinstance(text, str) and isinstance(part, str) and part in text


def length(value: object) -> int | None:
    """Return the number of list elements or of UTF-8 bytes of a text, 0 for null; null for anything else."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list):
        return len(value)
    return 0 if value is None else None


def _of_text(change: Callable[[str], str]) -> Callable[[object], str | None]:
    def changed(value: object) -> str | None:
        return change(value) if isinstance(value, str) else None

    return changed


lowercase = _of_text(str.lower)
uppercase = _of_text(str.upper)
snakecase = _of_text(lambda text: text.replace(" ", "_"))
kebabcase = _of_text(lambda text: text.replace(" ", "-"))
titlecase = _of_text(lambda text: " ".join(word[:1].upper() + word[1:] for word in text.split(" ")))


def type_of(value: object) -> str:
    """Return `string`, `number`, `list`, `bool`, `null` or `object`."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    if value is None:
        return "null"
    if isinstance(value, list):
        return "list"
    return "number" if is_number(value) else "object"


def to_bool(value: object) -> bool:
    """Return False for null, 0, an empty text or list, and the text `false`; otherwise True."""
    return bool(value) and value != "false"


def to_string(value: object) -> str:
    """Return the value as JSON; a text is unchanged, null is empty. A number has one form: `1` for 1 and for 1.0."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


def json_text(value: object) -> str:
    """Return the JSON text of a value in the form of Go and JavaScript."""
    return _encoder.encode(_with_number_texts(value)).decode()


def _with_number_texts(value: object) -> object:
    if isinstance(value, dict):
        return {key: _with_number_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_number_texts(item) for item in value]
    if isinstance(value, int) and _FIXED_BELOW <= abs(value) <= _DOUBLE_MAX:
        value = float(value)
    return msgspec.Raw(_number_text(value).encode()) if isinstance(value, float) else value


def _number_text(value: float) -> str:
    """Format a number like ECMAScript: `1`, `0.00001`, `1e-7`, `1e+21`."""
    if value.is_integer() and abs(value) < _FIXED_BELOW:
        return str(int(value))
    if _FIXED_FROM <= abs(value) < _FIXED_BELOW:
        return f"{Decimal(repr(value)):f}"
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent):+d}"


def semver(version: object, sign: object, other: object) -> bool:
    """Compare two versions of up to three numbers; false for an invalid version or operator.

    As in Segment's evaluator, `2` is 2.0.0, and anything after the digits of a part (`3-beta`) is ignored.
    """
    left, right = _version(version), _version(other)
    compare = VERSION_OPERATORS.get(sign) if isinstance(sign, str) else None
    return left is not None and right is not None and compare is not None and compare(left, right)


def is_version(value: object) -> bool:
    """Return whether `semver` can read the value."""
    return _version(value) is not None


def _version(value: object) -> tuple[float, ...] | None:
    if not isinstance(value, str):
        return None
    parts = value.split(".")
    numbers = [_VERSION_PART.match(part) for part in parts]
    if len(parts) > _VERSION_PARTS_MAX or None in numbers:
        return None
    # Compared as doubles, as in Segment's evaluator, which also limits their length.
    known_parts = [float(number[1]) for number in numbers if number is not None]
    return tuple(known_parts + [0.0] * (_VERSION_PARTS_MAX - len(known_parts)))


def to_number(value: object) -> int | float | None:
    """Return a number, or the number that a text states; null for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", text, re.ASCII):
            return None
        return int(text) if text.lstrip("+-").isdigit() and len(text) < 400 else float(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def match(text: object, glob: object) -> bool:
    """Return whether the whole text matches the pattern; false for a malformed pattern."""
    if not isinstance(text, str) or not isinstance(glob, str):
        return False
    pattern = compiled_glob(glob)
    return pattern is not None and pattern.fullmatch(text) is not None


@lru_cache(maxsize=_GLOBS_REMEMBERED)
def compiled_glob(glob: str) -> re.Pattern[str] | None:
    r"""Compile a pattern; None if malformed. `*`: any text, `?`: a character, `[a-z]` `[^a]`: classes, `\x`: x."""
    parts: list[str] = []
    place = 0
    while place < len(glob):
        character = glob[place]
        place += 1
        if character == "*":
            # A run of stars counts as one: several would take very long on a text that does not match.
            if not parts or parts[-1] != ".*":
                parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "\\":
            if place == len(glob):
                return None
            parts.append(re.escape(glob[place]))
            place += 1
        elif character == "[":
            character_class = _character_class(glob, place)
            if character_class is None:
                return None
            text, place = character_class
            parts.append(text)
        else:
            parts.append(re.escape(character))
    # Between stars the first match is as good as any later one, so nothing is tried twice.
    return re.compile(_without_backtracking(parts), re.DOTALL)


def _without_backtracking(parts: list[str]) -> str:
    """Join the parts between stars as atomic groups: `a*b*c` takes at most one pass over the text per star."""
    groups: list[list[str]] = [[]]
    for part in parts:
        if part == ".*":
            groups.append([])
        else:
            groups[-1].append(part)
    first, *rest = ("".join(group) for group in groups)
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{group})" for group in middle) + f".*{last}"


def _character_class(glob: str, place: int) -> tuple[str, int] | None:
    """Return the class that begins after `[`, and the index after its end; None if it is malformed.

    As in Go's patterns, `-` and `]` are literal only after a backslash.
    """
    is_negated = glob.startswith("^", place)
    place += is_negated
    parts: list[str] = []
    while not (glob.startswith("]", place) and parts):
        first = _class_character(glob, place)
        if first is None:
            return None
        low, place = first
        high = low
        if glob.startswith("-", place):
            last = _class_character(glob, place + 1)
            if last is None:
                return None
            high, place = last
        # A range with its ends in the wrong order matches nothing.
        parts.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    inside = "".join(parts)
    if not inside:
        return ("." if is_negated else "(?!)"), place + 1
    return f"[{'^' if is_negated else ''}{inside}]", place + 1


def _class_character(glob: str, place: int) -> tuple[str, int] | None:
    if glob.startswith(("-", "]"), place):
        return None
    place += glob.startswith("\\", place)
    return (glob[place], place + 1) if place < len(glob) else None


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        evaluate: Returns the value of a call from those of its arguments; it never raises.
        arguments: Number of arguments.
        is_boolean: True if it only returns true or false.
    """

    evaluate: Callable[..., object]
    arguments: int
    is_boolean: bool = False


FUNCTIONS: Final[Mapping[str, Function]] = {
    "contains": Function(contains, 2, is_boolean=True),
    "length": Function(length, 1),
    "lowercase": Function(lowercase, 1),
    "uppercase": Function(uppercase, 1),
    "snakecase": Function(snakecase, 1),
    "kebabcase": Function(kebabcase, 1),
    "titlecase": Function(titlecase, 1),
    "typeof": Function(type_of, 1),
    "match": Function(match, 2, is_boolean=True),
    "bool": Function(to_bool, 1, is_boolean=True),
    "string": Function(to_string, 1),
    "number": Function(to_number, 1),
    "semver": Function(semver, 3, is_boolean=True),
}
"""The functions by name, as conditions call them."""
