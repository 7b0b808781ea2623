"""Reads the lines of the audience builder from a form. Field names contain the line's number; conditions repeat."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Final

from punchcard.app.audience_lines import ADDITIONS, FUNNEL_STEPS, SOURCE_UNSET, Line, Lines, TraitCondition
from punchcard.app.request_context import RequestContext

LINES_MAX: Final = 20
CONDITIONS_MAX: Final = 10
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


def read_lines(context: RequestContext) -> tuple[Lines, str]:
    """Return the lines, changed by the pressed button, and the part that was added, "" for none.

    A part is named by its line and position: `0.ask1` is the second condition of the first line.
    """
    lines = [_read_line(context, number) for number in context.fields("line")[:LINES_MAX] if number.isdecimal()]
    focused = ""
    for number, line in enumerate(lines):
        lines[number], part = _apply_addition(line, context.field(f"l{number}_more"))
        focused = f"{number}.{part}" if part else focused
    dropped, _, part = context.field("drop").partition(".")
    if dropped in map(str, range(len(lines))):
        number = int(dropped)
        if part:
            lines[number] = _remove_part(lines[number], part)
        elif len(lines) > 1:
            del lines[number]
    if context.field("add") and len(lines) < LINES_MAX:
        lines.append(Line())
        focused = f"{len(lines) - 1}.event"
    result = Lines(
        lines=lines or [Line()],
        joined="or" if context.field("joined") == "or" else "and",
        reducer=context.field("reducer") or "count",
        of=context.field("of"),
    )
    return result, focused


def _read_line(context: RequestContext, number: str) -> Line:
    values = {name: context.field(f"l{number}_{name}") for name in _FIELDS if f"l{number}_{name}" in context.form}
    return Line(
        **values,
        conditions=_read_conditions(context, f"l{number}_"),
        then_conditions=_read_conditions(context, f"l{number}_then_"),
    )


def _read_conditions(context: RequestContext, prefix: str) -> list[TraitCondition]:
    columns = (context.fields(f"{prefix}{name}") for name in ("path", "operator", "value"))
    conditions = [
        TraitCondition(path=path, operator=operator or "=", value=value)
        for path, operator, value in zip_longest(*columns, fillvalue="")
    ]
    return conditions[:CONDITIONS_MAX]


def _apply_addition(line: Line, more: str) -> tuple[Line, str]:
    if more not in ADDITIONS:
        return line, ""
    if more == "ask":
        return _append_condition(line, "conditions", "ask")
    if more == "then_ask":
        return _append_condition(line, "then_conditions", "then_ask") if line.then else (line, "")
    if more in FUNNEL_STEPS:
        return replace(line, then=more), "then"
    return replace(line, source=line.source or SOURCE_UNSET), "source"


def _append_condition(line: Line, name: str, part: str) -> tuple[Line, str]:
    conditions: Sequence[TraitCondition] = getattr(line, name)
    if len(conditions) >= CONDITIONS_MAX:
        return line, ""
    return replace(line, **{name: [*conditions, TraitCondition()]}), f"{part}{len(conditions)}"  # type: ignore[arg-type]  # `name` is a field with a list of conditions


def _remove_part(line: Line, part: str) -> Line:
    if part == "then":
        return replace(line, then="", then_event="", then_window="", then_conditions=())
    if part == "source":
        return replace(line, source="")
    conditions = [condition for number, condition in enumerate(line.conditions) if part != f"ask{number}"]
    then_conditions = [
        then_condition for number, then_condition in enumerate(line.then_conditions) if part != f"then_ask{number}"
    ]
    return replace(line, conditions=conditions, then_conditions=then_conditions)
