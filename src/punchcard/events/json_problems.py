"""What is wrong with text that should be JSON, and where, in words for its author."""

import json
from typing import Final

import msgspec

from punchcard.events.repair import ESCAPES

ENDS_TOO_EARLY: Final = "it ends too early"


def describe_json_problem(text: str | bytes, error: Exception) -> str:
    """Return what is wrong with a text, and its place, as the rest of a sentence without its full stop.

    Args:
        text: The text that was decoded.
        error: What the decoder raised, one of `UNREADABLE`. It says that the input was truncated both of a text that
            ends too early and of half of a surrogate pair.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        expected = f"{error}".replace("`", "")
        return f"{expected[:1].lower()}{expected[1:]}"
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if isinstance(error, UnicodeError):
        return f"it is not UTF-8{_place_of_other_bytes(content)}"
    message = f"{error}"
    if "truncated" in message or "surrogate" in message:
        for escape in ESCAPES.finditer(content):
            if escape[2] is not None:
                shown = escape[0].decode()
                return f"{shown} is half of a surrogate pair{_place(content, escape.start())}"
        if not content.strip():
            return "it is empty"
        return f"{ENDS_TOO_EARLY}{_place(content, len(content))}"
    return _python_problem(content) or message.removeprefix("JSON is malformed: ")


class _ConstantError(Exception):
    """A constant of JavaScript that Python's decoder reads, such as NaN."""


def _python_problem(content: bytes) -> str | None:
    """Return the message of Python's decoder, which has exact places; None if it accepts the text."""
    try:
        json.loads(content, parse_constant=_refuse_constant)
    except _ConstantError as error:
        return f"{error} is not JSON"
    except json.JSONDecodeError as error:
        problem = error.msg.removesuffix(" at")
        return f"{problem[:1].lower()}{problem[1:]} at line {error.lineno}, character {error.colno}"
    except (ValueError, RecursionError):  # numbers with very many digits, and bytes of another encoding
        return None
    return None


def _refuse_constant(name: str) -> None:
    raise _ConstantError(name)


def _place_of_other_bytes(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return _place(content, error.start)
    return ""


def _place(content: bytes, position: int) -> str:
    before = content[:position].decode("utf-8", "replace")
    line = before.count("\n") + 1
    return f" at line {line}, character {len(before) - before.rfind(chr(10))}"
