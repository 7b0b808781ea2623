"""Reads a destination's settings and options as their fields say, and names every value that cannot be used."""

import difflib
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from punchcard.destinations.definition import FieldType, SettingField
from punchcard.errors import ConfigurationError, InvariantError

# Every whole number up to here is exact as a float; nothing that a setting means comes near.
_NUMBER_MAX = 2**53
_LINE_BREAKS = str.maketrans("", "", "\r\n\t")


@dataclass(frozen=True, kw_only=True)
class SettingsProblem:
    """A value that cannot be used.

    Attributes:
        path: Key path from `settings` or `options` on, e.g. `settings.eventMap.Checked In`.
        message: What is wrong with it, without the path.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def refuse(problems: Sequence[SettingsProblem]) -> None:
    """Raise if there is any problem.

    Raises:
        ConfigurationError: all of them, one line each, every line beginning with its key path.
    """
    if problems:
        raise ConfigurationError("\n".join(str(problem) for problem in problems))


class Values:
    """The values of one section, each of the type of its field; what was left out has its default.

    Args:
        values: By key, already checked.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, key: str) -> str:
        """The value of a string or select field."""
        value = self._values[key]
        if not isinstance(value, str):
            raise InvariantError(f"setting {key} is not text")
        return value

    def flag(self, key: str) -> bool:
        """The value of a boolean field."""
        value = self._values[key]
        if not isinstance(value, bool):
            raise InvariantError(f"setting {key} is not true or false")
        return value

    def number(self, key: str) -> float:
        """The value of a number field."""
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvariantError(f"setting {key} is not a number")
        return value

    def number_or(self, key: str, default: float) -> float:
        """The value of a number field; the default if there is no field with this key."""
        return self.number(key) if key in self._values else default

    def texts(self, key: str) -> tuple[str, ...]:
        """The value of an array field."""
        value = self._values[key]
        if not isinstance(value, list | tuple):
            raise InvariantError(f"setting {key} is not a list")
        return tuple(str(item) for item in value)

    def text_map(self, key: str) -> Mapping[str, str]:
        """The value of a text-map field, read-only."""
        value = self._values[key]
        if not isinstance(value, Mapping):
            raise InvariantError(f"setting {key} is not a table")
        return MappingProxyType({str(name): str(item) for name, item in value.items()})


def split_web_address(text: str) -> SplitResult | None:
    """Return the parts of a URL; None if no request can be made to it, whatever its scheme."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # both raise for what cannot be read
        (host or "").encode("idna")  # as every request will
    except ValueError:
        return None
    return parts


def with_defaults(values: Mapping[str, object], fields: Iterable[SettingField]) -> dict[str, object]:
    """The values, and the defaults of the fields that were left out, in the order of the fields."""
    return {field.key: values.get(field.key, field.default) for field in fields}


def read_section(
    section: str, fields: Sequence[SettingField], given: Mapping[str, object], *, problems: list[SettingsProblem]
) -> Values | None:
    """The values of one section as its fields say.

    Args:
        section: `settings` or `options`, the beginning of each key path.
        fields: The fields of the section.
        given: The values of the section.
        problems: What is wrong is added here.

    Returns:
        The values, None if any of them cannot be used.
    """
    section_problems = list(_find_problems(section, fields, given))
    problems.extend(section_problems)
    if section_problems:
        return None
    # As in Segment's catalog, null is a value that was left out.
    return Values({field.key: field.default if given.get(field.key) is None else given[field.key] for field in fields})


def _find_problems(
    section: str, fields: Sequence[SettingField], given: Mapping[str, object]
) -> Iterator[SettingsProblem]:
    known = {field.key for field in fields}
    for key in given:
        if key not in known:
            yield SettingsProblem(path=f"{section}.{key}", message=f"is not known{_suggestion(str(key), known)}")
    for field in fields:
        path = f"{section}.{field.key}"
        value = given.get(field.key)
        if value is not None:
            yield from _CHECKS[field.type](path, field, value)
        elif field.default is None:
            yield SettingsProblem(path=path, message="is required")


def _suggestion(key: str, known: Iterable[str]) -> str:
    known = sorted(known)
    folded = {known_key.lower(): known_key for known_key in known}
    close = difflib.get_close_matches(key.lower(), folded, n=1)
    if close:
        return f'; did you mean "{folded[close[0]]}"?'
    return f"; known: {', '.join(known)}"


def _check_text(path: str, field: SettingField, value: object) -> Iterator[SettingsProblem]:
    if not isinstance(value, str):
        yield _wrong_type(path, "text", value)
    elif not value.strip() and field.required:
        yield SettingsProblem(path=path, message="is required")
    elif not (value.translate(_LINE_BREAKS) if field.is_code else value).isprintable():
        yield SettingsProblem(path=path, message="must not contain control characters")


def _check_flag(path: str, field: SettingField, value: object) -> Iterator[SettingsProblem]:
    if not isinstance(value, bool):
        yield _wrong_type(path, "true or false", value)


def _check_number(path: str, field: SettingField, value: object) -> Iterator[SettingsProblem]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield _wrong_type(path, "a number", value)
    elif abs(value) > _NUMBER_MAX or math.isnan(value):
        yield SettingsProblem(path=path, message="must be a number of usual size")
    elif field.minimum is not None and value < field.minimum:
        yield SettingsProblem(path=path, message=f"must be at least {field.minimum:g}, is {value:g}")
    elif field.maximum is not None and value > field.maximum:
        yield SettingsProblem(path=path, message=f"must be at most {field.maximum:g}, is {value:g}")
    elif field.whole and value != int(value):
        yield SettingsProblem(path=path, message=f"must be a whole number, is {value:g}")


def _check_select(path: str, field: SettingField, value: object) -> Iterator[SettingsProblem]:
    if not isinstance(value, str):
        yield _wrong_type(path, "text", value)
    elif value not in field.choices:
        yield SettingsProblem(path=path, message=f'must be one of {", ".join(field.choices)}, is "{value}"')


def _check_array(path: str, field: SettingField, value: object) -> Iterator[SettingsProblem]:
    if not isinstance(value, list | tuple):
        yield _wrong_type(path, "a list of text", value)
        return
    for index, item in enumerate(value):
        if not isinstance(item, str):
            yield _wrong_type(f"{path}.{index}", "text", item)


def _check_text_map(path: str, field: SettingField, value: object) -> Iterator[SettingsProblem]:
    if not isinstance(value, Mapping):
        yield _wrong_type(path, "a table of text to text", value)
        return
    for name, item in value.items():
        if not isinstance(name, str) or not name.strip() or any(_is_control(character) for character in name):
            yield SettingsProblem(
                path=path, message=f"{name!r} cannot be a name: it is empty or has control characters"
            )
        elif not isinstance(item, str):
            yield _wrong_type(f"{path}.{name}", "text", item)


def _is_control(character: str) -> bool:
    """Return whether a character cannot be part of a name; joiners, as in Persian and emoji, and any space can."""
    return unicodedata.category(character) in ("Cc", "Cs")


def _wrong_type(path: str, expected: str, value: object) -> SettingsProblem:
    # The value itself is not shown: it may be a secret in the wrong place.
    hint = ""
    if expected == "text" and isinstance(value, int | float) and not isinstance(value, bool):
        hint = ": put it in quotes"
    return SettingsProblem(path=path, message=f"must be {expected}, not {_kind(value)}{hint}")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


_CHECKS: Mapping[FieldType, Callable[[str, SettingField, object], Iterator[SettingsProblem]]] = {
    FieldType.STRING: _check_text,
    FieldType.BOOLEAN: _check_flag,
    FieldType.NUMBER: _check_number,
    FieldType.SELECT: _check_select,
    FieldType.ARRAY: _check_array,
    FieldType.TEXT_MAP: _check_text_map,
}
