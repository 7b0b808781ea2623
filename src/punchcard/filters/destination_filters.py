"""The filters of a destination, compiled into one function of an event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, cast

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.events.model import Event
from punchcard.events.parse import with_text
from punchcard.filters.actions import Actions, Fields, read_actions
from punchcard.filters.generated import Source, paths_of
from punchcard.filters.parser import parse
from punchcard.filters.printer import print_condition
from punchcard.filters.syntax import Condition, Path
from punchcard.filters.value_reader import ValueReader, dig

FILTERS_MAX: Final = 10
TITLE_CHARACTERS_MAX: Final = 64
# Expressions nest with each part of a path, and Python compiles 100 levels at most. Inline is twice as fast as a call.
_INLINE_PARTS_MAX: Final = 8
# Errors from event text that is JSON and cannot be decoded nevertheless.
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError, ValueError)


@dataclass(frozen=True, kw_only=True)
class FilterDefinition:
    """A filter as configured.

    Attributes:
        title: Name of the filter.
        condition: FQL text.
        actions: Actions as data, such as `{"type": "DROP"}`.
    """

    title: str
    condition: str
    actions: Sequence[Mapping[str, object]]


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """The result of filters for an event that at least one of them matched.

    Attributes:
        event: The event after the filters, None if it is dropped.
        reason: Reason code of a dropped event, otherwise None.
        detail: A sentence that names the filter and its action.
    """

    event: Event | None
    reason: str | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The values that one filter read from an event, and its decision.

    Attributes:
        condition: The condition as Punchcard prints it.
        matched: Whether the condition is true; None if it could not be evaluated.
        saw: The values at the paths of the condition.
        decision: A sentence.
    """

    title: str
    condition: str
    matched: bool | None
    saw: Mapping[str, object]
    decision: str


@dataclass(frozen=True)
class _Filter:
    title: str
    condition: Condition
    actions: Actions

    def dropped(self) -> Filtered:
        """Return the result for an event that the filter drops; the same for all events."""
        if self.actions.drops:
            detail = f'filter "{self.title}" drops events with {print_condition(self.condition)}'
        elif self.actions.samples:
            sample = self.actions.samples[0]
            of = f" by {'.'.join(sample.path)}" if sample.path else ""
            detail = f'filter "{self.title}" keeps a sample of {sample.percent:g}{of}, and this event is not in it'
        else:
            detail = f'filter "{self.title}" drops no event'
        return Filtered(event=None, reason="FILTERED_BY_RULES", detail=detail)


_Matches = Callable[[Event], bool]


class DestinationFilters:
    """The filters of one destination, in their order.

    Args:
        definitions: The enabled filters.

    Attributes:
        depends_on: First parts of all paths in conditions and samples.

    Raises:
        ConfigurationError: A filter is invalid.
    """

    def __init__(self, definitions: Sequence[FilterDefinition]) -> None:
        self._filters = [
            _Filter(definition.title, parse(definition.condition), read_actions(definition.actions))
            for definition in definitions
        ]
        self._dropped = [filter_.dropped() for filter_ in self._filters]
        samples = [
            sample.path for filter_ in self._filters for sample in filter_.actions.samples if sample.path is not None
        ]
        paths = paths_of([filter_.condition for filter_ in self._filters])
        self.depends_on = frozenset(path[0] for path in [*paths, *samples])
        self._run = cast(
            "Callable[[Event], int | tuple[int, ...] | None]", _compiled(self._filters, [*paths, *samples])
        )

    def __bool__(self) -> bool:
        return bool(self._filters)

    def apply(self, event: Event) -> Filtered | None:
        """Apply the filters to an event; None if none of them changes anything."""
        try:
            run = self._run(event)
            if run is None:
                return None
            if isinstance(run, tuple):
                return self._edited(event, run)
        except _UNREADABLE as error:
            return self._failed(event, error)
        return self._dropped[run]

    def explain(self, event: Event) -> list[Explained]:
        """Return what each filter reads from the event and decides, for people."""
        return [self._explained(filter_, event) for filter_ in self._filters]

    def _edited(self, event: Event, numbers: tuple[int, ...]) -> Filtered:
        raw = event.raw
        applied = [self._filters[number] for number in numbers]
        for fields in _in_order(applied):
            raw = fields.apply(raw)
        titles = ", ".join(f'"{filter_.title}"' for filter_ in applied)
        return Filtered(event=with_text(event, raw), reason=None, detail=f"properties were removed by filter {titles}")

    def _failed(self, event: Event, error: Exception) -> Filtered:
        """Drop an event that a filter cannot evaluate, as Segment does, with a detail."""
        for filter_ in self._filters:
            try:
                _matcher(filter_.condition)(event)
            except _UNREADABLE as own_error:
                detail = f'filter "{filter_.title}" cannot be applied to this event ({own_error}), so it is not sent'
                return Filtered(event=None, reason="FILTERED_BY_RULES", detail=detail)
        detail = f"the filters cannot be applied to this event ({error}), so it is not sent"
        return Filtered(event=None, reason="FILTERED_BY_RULES", detail=detail)

    def _explained(self, filter_: _Filter, event: Event) -> Explained:
        try:
            matched: bool | None = _matcher(filter_.condition)(event)
            saw = {".".join(path): _value_of(path)(event) for path in sorted(paths_of([filter_.condition]))}
        except Exception as error:  # noqa: BLE001  # an explanation must not fail for its reader
            matched, saw, decision = None, {}, f"cannot be applied: {error}"
        else:
            decision = _decision(filter_.actions, event) if matched else "does not match: no action"
        return Explained(
            title=filter_.title,
            condition=print_condition(filter_.condition),
            matched=matched,
            saw=saw,
            decision=decision,
        )


def preview(definition: FilterDefinition, payload: bytes) -> bytes | None:
    """Apply a filter to a payload, which need not be a valid event; None if it drops the payload.

    Args:
        payload: JSON text of an object.

    Raises:
        ConfigurationError: The filter is invalid, the payload is not an object, or the filter cannot be applied to it.
    """
    actions = read_actions(definition.actions)
    condition = parse(definition.condition)
    check_filter(definition)
    try:
        value = msgspec.json.decode(payload)
    except _UNREADABLE as error:
        raise ConfigurationError(f"The payload cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigurationError("The payload must be a JSON object.")
    try:
        return _applied(condition, actions, value, payload)
    except Exception as error:  # any error of a filter is reported to its author
        raise ConfigurationError(f"The filter cannot be applied to this payload: {error}.") from error


def _applied(condition: Condition, actions: Actions, value: dict[str, object], payload: bytes) -> bytes | None:
    if not payload_matcher(condition)(value):
        return payload
    for sample in actions.samples:
        message_id = value.get("messageId")
        if not sample.keeps(dig(value, sample.path or ()), message_id if isinstance(message_id, str) else ""):
            return None
    if actions.drops:
        return None
    for fields in (*actions.drop_fields, *actions.allow_fields):
        payload = fields.apply(payload)
    return payload


def check_filter(definition: FilterDefinition) -> None:
    """Check that a filter is valid and compiles.

    Raises:
        ConditionError: The condition is invalid.
        ActionError: The actions are invalid.
        ConfigurationError: The filter does not compile, which is a defect of the compiler.
    """
    try:
        DestinationFilters([definition])
    except ConfigurationError:
        raise
    except Exception as error:  # an error of the compiler must not stop saving or loading
        message = f"This filter cannot be compiled: {type(error).__name__}: {error}."
        raise ConfigurationError(message, code="invalid_filter") from error


def _decision(actions: Actions, event: Event) -> str:
    for sample in actions.samples:
        value = None if sample.path is None else _value_of(sample.path)(event)
        if not sample.keeps(value, event.message_id):
            return f"matches: not in the sample of {sample.percent:g}, the event is dropped"
    if actions.drops:
        return "matches: the event is dropped"
    edits = [*(f"removes {_described(field)}" for field in actions.drop_fields)]
    edits += [f"keeps only {_described(field)}" for field in actions.allow_fields]
    return "matches: " + ("; ".join(edits) or "the event is in the sample that is kept")


def _described(fields: Fields) -> str:
    place = ".".join(fields.path) or "the event"
    return f"{', '.join(sorted(fields.keys)) or 'nothing'} of {place}"


def _in_order(filters: Sequence[_Filter]) -> list[Fields]:
    dropped = [fields for filter_ in filters for fields in filter_.actions.drop_fields]
    return dropped + [fields for filter_ in filters for fields in filter_.actions.allow_fields]


def _compiled(filters: Sequence[_Filter], paths: Sequence[tuple[str, ...]]) -> Callable[[Event], object]:
    """Compile a function of an event: it returns None, the number of the dropping filter, or those of the editing ones.

    Segment's order over all filters: first samples, then drops, then the removal of properties.
    """
    reader = ValueReader(paths)
    source = Source(reader.expression)
    lines: list[str] = []
    for number, filter_ in enumerate(filters):
        for sample in filter_.actions.samples:
            value = "None" if sample.path is None else reader.expression(Path(sample.path))
            keeps = source.bind(sample.keeps, "keeps")
            lines.append(f"if {source.condition(filter_.condition)} and not {keeps}({value}, event.message_id):")
            lines.append(f"    return {number}")
    for number, filter_ in enumerate(filters):
        if filter_.actions.drops:
            lines += [f"if {source.condition(filter_.condition)}:", f"    return {number}"]
    editing = [
        (number, filter_)
        for number, filter_ in enumerate(filters)
        if filter_.actions.drop_fields or filter_.actions.allow_fields
    ]
    if editing:
        lines.append("edits = ()")
        for number, filter_ in editing:
            lines += [f"if {source.condition(filter_.condition)}:", f"    edits += ({number},)"]
        lines.append("return edits or None")
    return _function(reader, source, lines or ["return None"])


def compile_conditions(conditions: Sequence[Condition]) -> Callable[[Event], int | None]:
    """Compile conditions into a function that returns the number of the first that is true for an event, else None."""
    reader = ValueReader(paths_of(conditions))
    source = Source(reader.expression)
    lines: list[str] = []
    for number, condition in enumerate(conditions):
        lines += [f"if {source.condition(condition)}:", f"    return {number}"]
    return cast("Callable[[Event], int | None]", _function(reader, source, [*lines, "return None"]))


def compile_matches(conditions: Sequence[Condition]) -> Callable[[Event], int]:
    """Compile conditions into a function that returns those that are true for an event: the bit of each by its number.

    What conditions read of the event is read once for all of them.
    """
    reader = ValueReader(paths_of(conditions))
    source = Source(reader.expression)
    lines = ["matches = 0"]
    for number, condition in enumerate(conditions):
        lines += [f"if {source.condition(condition)}:", f"    matches |= {1 << number}"]
    return cast("Callable[[Event], int]", _function(reader, source, [*lines, "return matches"]))


def compile_expression(expression: Condition) -> Callable[[Event], object]:
    """Compile an expression into a function that returns its value for an event, None if it has none."""
    reader = ValueReader(paths_of([expression]))
    source = Source(reader.expression)
    return _function(reader, source, [f"return {source.result(expression)}"])


def _matcher(condition: Condition) -> _Matches:
    reader = ValueReader(paths_of([condition]))
    source = Source(reader.expression)
    return cast("_Matches", _function(reader, source, [f"return {source.condition(condition)}"]))


def _value_of(path: tuple[str, ...]) -> Callable[[Event], object]:
    reader = ValueReader([path])
    return _function(reader, Source(reader.expression), [f"return {reader.expression(Path(path))}"])


def payload_matcher(condition: Condition) -> Callable[[dict[str, object]], bool]:
    """Compile the condition into a function of a decoded payload, which need not be an event, for the preview."""
    variables = count()

    def read(path: Path) -> str:
        first, *rest = path.parts
        if len(rest) > _INLINE_PARTS_MAX:
            return f"dig(event, {path.parts!r})"
        value = f"event.get({first!r})"
        for part in rest:
            name = f"v{next(variables)}"
            value = f"({name}.get({part!r}) if ({name} := {value}).__class__ is dict else None)"
        return value

    source = Source(read)
    text = f"def decide(event):\n    return {source.condition(condition)}\n"
    return cast("Callable[[dict[str, object]], bool]", _defined(text, {"dig": dig, **source.names}))


def _function(reader: ValueReader, source: Source, lines: Sequence[str]) -> Callable[[Event], object]:
    head = ["wire = event.wire", *(f"{member} = UNREAD" for member in reader.members)]
    text = "def decide(event):\n" + "".join(f"    {line}\n" for line in [*head, *lines])
    return _defined(text, {**reader.names, **source.names})


def _defined(text: str, names: Mapping[str, object]) -> Callable[[Any], object]:
    scope: dict[str, Any] = dict(names)
    # The text consists of our own names and constants: text of the filter's author is included only through `repr`.
    exec(compile(text, "<filters>", "exec"), scope)
    return cast("Callable[[Any], object]", scope["decide"])
