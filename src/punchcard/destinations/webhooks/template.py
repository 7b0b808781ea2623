"""Body templates: JSON with the directives of Segment's mappings, compiled once and applied to events. Pure.

==================================  ===================================================================
`{"@path": "$.properties.email"}`   the value of a member of the event, of whatever type; `$` is the event
`{"@template": "Hi {{traits.n}}"}`  a text with the values of members in it; a missing one is empty
`{"@literal": …}`                   the value as it stands, directives in it too
==================================  ===================================================================

A member of an object with a missing path is left out; an item of a list becomes null.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE

TEMPLATE_CHARACTERS_MAX: Final = 20_000
_DEPTH_MAX: Final = 20
_PLACEHOLDER: Final = re.compile(r"\{\{([^{}]*)\}\}")
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d{1,6})\]")
_PATH: Final = re.compile(r"\$|(?:\$\.)?[^.\[\]]+(?:\.[^.\[\]]+|\[\d{1,6}\])*|\$(?:\[\d{1,6}\])+")
_MISSING: Final = object()
_encoder = msgspec.json.Encoder(decimal_format="number")
# Decimals keep every digit that the sender wrote.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode

_Node = Callable[[object], object]


class TemplateError(ValueError):
    """The template cannot be used; the message says why."""


class Template:
    """A compiled template."""

    def __init__(self, text: str) -> None:
        """Compile the text.

        Raises:
            TemplateError: it is not JSON, too long, too deep, or has a directive that is not known.
        """
        if len(text) > TEMPLATE_CHARACTERS_MAX:
            raise TemplateError(f"has {len(text)} characters, at most {TEMPLATE_CHARACTERS_MAX} are allowed")
        try:
            value = _decode(text)
        except UNREADABLE as error:
            raise TemplateError(f"is not JSON: {error}") from error
        self._render = _compile(value, 0)

    def apply(self, event: bytes) -> bytes:
        """Return the JSON text that the template makes of an event.

        Args:
            event: JSON text of an object.

        Raises:
            msgspec.DecodeError, RecursionError, UnicodeDecodeError: see `events.faults.UNREADABLE`.
        """
        value = self._render(_decode(event))
        return _encoder.encode(None if value is _MISSING else value)


def _compile(value: object, depth: int) -> _Node:
    if depth > _DEPTH_MAX:
        raise TemplateError(f"is nested deeper than {_DEPTH_MAX} levels")
    if isinstance(value, dict):
        directives = [name for name in value if name.startswith("@")]
        if directives:
            return _compile_directive(value, directives)
        return _object({name: _compile(inner, depth + 1) for name, inner in value.items()})
    if isinstance(value, list):
        return _list([_compile(inner, depth + 1) for inner in value])
    return lambda event: value


def _compile_directive(value: dict[str, object], directives: list[str]) -> _Node:
    if len(value) > 1:
        raise TemplateError(f'"{directives[0]}" must stand alone in its object')
    ((name, content),) = value.items()
    if name == "@literal":
        return lambda event: content
    if name not in ("@path", "@template"):
        raise TemplateError(f'"{name}" is not known; known: @path, @template, @literal')
    if not isinstance(content, str):
        raise TemplateError(f'"{name}" must be text')
    if name == "@path":
        steps = _steps(content)
        return lambda event: _value_at(event, steps)
    return _text(content)


def _object(members: dict[str, _Node]) -> _Node:
    def render(event: object) -> object:
        rendered = {name: node(event) for name, node in members.items()}
        return {name: value for name, value in rendered.items() if value is not _MISSING}

    return render


def _list(items: list[_Node]) -> _Node:
    def render(event: object) -> object:
        return [None if (value := node(event)) is _MISSING else value for node in items]

    return render


def _text(text: str) -> _Node:
    parts = list(_text_parts(text))

    def render(event: object) -> object:
        return "".join(part if isinstance(part, str) else _shown(_value_at(event, part)) for part in parts)

    return render


def _text_parts(text: str) -> Iterator[str | list[str | int]]:
    """Return the fixed parts of a text, and the paths between them."""
    end = 0
    for placeholder in _PLACEHOLDER.finditer(text):
        yield text[end : placeholder.start()]
        yield _steps(placeholder[1].strip())
        end = placeholder.end()
    yield text[end:]


def _steps(path: str) -> list[str | int]:
    if not _PATH.fullmatch(path):
        raise TemplateError(f'"{path}" is not a path such as $.properties.email or $.properties.products[0].price')
    inner = path.removeprefix("$").removeprefix(".")
    return [int(index) if index else name for name, index in _STEP.findall(inner)]


def _value_at(value: object, steps: list[str | int]) -> object:
    for step in steps:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step, _MISSING)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return _MISSING
    return value


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or value is _MISSING else _encoder.encode(value).decode()
