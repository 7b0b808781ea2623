"""The builder's lines as a form brings them: each field under the number of its line, conditions of a line repeated."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Final

from punchcard.app.audience_lines import MORE, SOURCE_OPEN, THEN, Ask, Line, Lines
from punchcard.app.request_context import RequestContext

LINES_MAX: Final = 20
ASKS_MAX: Final = 10
_FIELDS: Final = (
    "kind",
    "event",
    "measure",
    "of",
    "counted",
    "times",
    "span",
    "begin",
    "window",
    "unit",
    "then",
    "then_event",
    "then_window",
    "then_unit",
    "source",
)


def lines_of_form(context: RequestContext) -> tuple[Lines, str]:
    """The lines, changed as the button says that was pressed; and which part has just been added, "" for none.

    A part is named by its line and itself: `0.ask1` is the second condition of the first line.
    """
    lines = [_line(context, number) for number in context.fields("line")[:LINES_MAX] if number.isdecimal()]
    fresh = ""
    for number, line in enumerate(lines):
        lines[number], part = _with_more(line, context.field(f"l{number}_more"))
        fresh = f"{number}.{part}" if part else fresh
    dropped, _, part = context.field("drop").partition(".")
    if dropped.isdecimal() and int(dropped) < len(lines):
        number = int(dropped)
        if part:
            lines[number] = _without(lines[number], part)
        elif len(lines) > 1:
            del lines[number]
    if context.field("add") and len(lines) < LINES_MAX:
        lines.append(Line())
        fresh = f"{len(lines) - 1}.event"
    found = Lines(
        lines=lines or [Line()],
        joined="or" if context.field("joined") == "or" else "and",
        reducer=context.field("reducer") or "count",
        of=context.field("of"),
    )
    return found, fresh


def _line(context: RequestContext, number: str) -> Line:
    given = {name: context.field(f"l{number}_{name}") for name in _FIELDS if f"l{number}_{name}" in context.form}
    return Line(**given, asks=_asks(context, f"l{number}_"), then_asks=_asks(context, f"l{number}_then_"))


def _asks(context: RequestContext, prefix: str) -> list[Ask]:
    columns = (context.fields(f"{prefix}{name}") for name in ("path", "operator", "value"))
    asks = [
        Ask(path=path, operator=operator or "=", value=value)
        for path, operator, value in zip_longest(*columns, fillvalue="")
    ]
    return asks[:ASKS_MAX]


def _with_more(line: Line, more: str) -> tuple[Line, str]:
    if more not in MORE:
        return line, ""
    if more == "ask":
        return _with_ask(line, "asks")
    if more == "then_ask":
        return _with_ask(line, "then_asks") if line.then else (line, "")
    if more in THEN:
        return replace(line, then=more), "then"
    return replace(line, source=line.source or SOURCE_OPEN), "source"


def _with_ask(line: Line, name: str) -> tuple[Line, str]:
    asks: Sequence[Ask] = getattr(line, name)
    if len(asks) >= ASKS_MAX:
        return line, ""
    return replace(line, **{name: [*asks, Ask()]}), f"{name.removesuffix('s')}{len(asks)}"  # type: ignore[arg-type]  # a list of asks


def _without(line: Line, part: str) -> Line:
    if part == "then":
        return replace(line, then="", then_event="", then_window="", then_asks=())
    if part == "source":
        return replace(line, source="")
    asks = [one for number, one in enumerate(line.asks) if part != f"ask{number}"]
    then_asks = [one for number, one in enumerate(line.then_asks) if part != f"then_ask{number}"]
    return replace(line, asks=asks, then_asks=then_asks)
