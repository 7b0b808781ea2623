"""A destination's filters, compiled into one function that says what becomes of an event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.events.model import Event
from punchcard.events.parse import rewritten
from punchcard.filters.actions import Actions, Fields, read_actions
from punchcard.filters.generated import Source, paths_of
from punchcard.filters.parser import parse
from punchcard.filters.printer import print_condition
from punchcard.filters.syntax import Condition, Path
from punchcard.filters.value_reader import ValueReader, dig

FILTERS_MAX: Final = 10
TITLE_CHARACTERS_MAX: Final = 64
# What the text of an event may hold that nothing can read, though it is JSON.
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError, ValueError)


@dataclass(frozen=True, kw_only=True)
class FilterDefinition:
    """A filter as somebody wrote it.

    Attributes:
        title: Its name for people.
        condition: FQL text.
        actions: Data such as `{"type": "DROP"}`.
    """

    title: str
    condition: str
    actions: Sequence[Mapping[str, object]]


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """What filters made of an event that one of them matched.

    Attributes:
        event: The event as it goes on, None if it is dropped.
        reason: Reason code of a dropped one, else None.
        detail: Which filter did what, in a sentence.
    """

    event: Event | None
    reason: str | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What one filter saw of an event and decided.

    Attributes:
        condition: As Punchcard prints it.
        matched: Whether the condition holds; None if it could not be read from the event.
        saw: The values at the paths that the condition names.
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
        """What becomes of an event that it drops; the same for all of them."""
        if self.actions.drops:
            detail = f'filter "{self.title}" drops events with {print_condition(self.condition)}'
        elif self.actions.samples:
            sample = self.actions.samples[0]
            of = f" by {'.'.join(sample.path)}" if sample.path else ""
            detail = f'filter "{self.title}" keeps a share of {sample.percent:g}{of}, and this event is not in it'
        else:
            detail = f'filter "{self.title}" drops no event'
        return Filtered(event=None, reason="FILTERED_BY_RULES", detail=detail)


_Matches = Callable[[Event], bool]


class DestinationFilters:
    """The filters of one destination, in their order.

    Args:
        definitions: Those that are enabled.

    Attributes:
        depends_on: First parts of all paths that conditions and samples name.

    Raises:
        ConfigurationError: one of them is not valid.
    """

    def __init__(self, definitions: Sequence[FilterDefinition]) -> None:
        self._filters = [
            _Filter(definition.title, parse(definition.condition), read_actions(definition.actions))
            for definition in definitions
        ]
        self._dropped = [one.dropped() for one in self._filters]
        samples = [one.path for each in self._filters for one in each.actions.samples if one.path is not None]
        paths = paths_of([one.condition for one in self._filters])
        self.depends_on = frozenset(path[0] for path in [*paths, *samples])
        self.has_samples = any(one.actions.samples for one in self._filters)
        self._run = cast(
            "Callable[[Event], int | tuple[int, ...] | None]", _compiled(self._filters, [*paths, *samples])
        )

    def __bool__(self) -> bool:
        return bool(self._filters)

    def apply(self, event: Event) -> Filtered | None:
        """What becomes of an event; None if no filter has anything to do with it."""
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
        """For people: what each filter sees of the event, and what it decides."""
        return [self._explained(one, event) for one in self._filters]

    def _edited(self, event: Event, which: tuple[int, ...]) -> Filtered:
        raw = event.raw
        chosen = [self._filters[number] for number in which]
        for fields in _in_order(chosen):
            raw = fields.applied(raw)
        titles = ", ".join(f'"{one.title}"' for one in chosen)
        return Filtered(
            event=rewritten(event, raw), reason=None, detail=f"properties were taken out by filter {titles}"
        )

    def _failed(self, event: Event, error: Exception) -> Filtered:
        """Closed, as Segment does: an event that a filter cannot judge is not sent. But it is told."""
        for one in self._filters:
            try:
                _matcher(one.condition)(event)
            except _UNREADABLE as own:
                detail = f'filter "{one.title}" cannot be applied to this event ({own}), so it is not sent'
                return Filtered(event=None, reason="FILTERED_BY_RULES", detail=detail)
        detail = f"the filters cannot be applied to this event ({error}), so it is not sent"
        return Filtered(event=None, reason="FILTERED_BY_RULES", detail=detail)

    def _explained(self, one: _Filter, event: Event) -> Explained:
        try:
            matched: bool | None = _matcher(one.condition)(event)
            saw = {".".join(path): _value_of(path)(event) for path in sorted(paths_of([one.condition]))}
        except Exception as error:  # noqa: BLE001  # an explanation of one event must not fail for whoever reads it
            matched, saw, decision = None, {}, f"cannot be applied: {error}"
        else:
            decision = _decision(one.actions, event) if matched else "does not match: nothing is done"
        return Explained(
            title=one.title, condition=print_condition(one.condition), matched=matched, saw=saw, decision=decision
        )


def preview(definition: FilterDefinition, payload: bytes) -> bytes | None:
    """What a filter makes of a payload, which need not be a valid event; None if it drops it.

    Args:
        payload: JSON text of an object.

    Raises:
        ConfigurationError: the filter is not valid, the payload is no object, or the filter cannot be applied to it.
    """
    actions = read_actions(definition.actions)
    condition = parse(definition.condition)
    check_filter(definition)
    try:
        value = msgspec.json.decode(payload)
    except _UNREADABLE as error:
        raise ConfigurationError(f"the payload cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError("the payload must be a JSON object")
    try:
        return _applied(condition, actions, value, payload)
    except Exception as error:  # whatever a payload does to a filter, its author is told
        raise ConfigurationError(f"the filter cannot be applied to this payload: {error}") from error


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
        payload = fields.applied(payload)
    return payload


def check_filter(definition: FilterDefinition) -> None:
    """See that a filter is valid and compiles.

    Raises:
        ConditionError: its condition is not valid.
        ActionError: its actions are not valid.
        ConfigurationError: it does not compile, which is a defect of the compiler.
    """
    try:
        DestinationFilters([definition])
    except ConfigurationError:
        raise
    except Exception as error:  # whatever a compiler can raise must not reach who saves or loads a filter
        message = f"this filter cannot be compiled: {type(error).__name__}: {error}"
        raise ConfigurationError(message, code="invalid_filter") from error


def _decision(actions: Actions, event: Event) -> str:
    for sample in actions.samples:
        value = None if sample.path is None else _value_of(sample.path)(event)
        if not sample.keeps(value, event.message_id):
            return f"matches: not in the share of {sample.percent:g}, the event is dropped"
    if actions.drops:
        return "matches: the event is dropped"
    edits = [*(f"takes out {_named(field)}" for field in actions.drop_fields)]
    edits += [f"keeps only {_named(field)}" for field in actions.allow_fields]
    return "matches: " + ("; ".join(edits) or "the event is in the share that is kept")


def _named(fields: Fields) -> str:
    place = ".".join(fields.path) or "the event"
    return f"{', '.join(sorted(fields.keys)) or 'nothing'} of {place}"


def _in_order(filters: Sequence[_Filter]) -> list[Fields]:
    dropped = [fields for one in filters for fields in one.actions.drop_fields]
    return dropped + [fields for one in filters for fields in one.actions.allow_fields]


def _compiled(filters: Sequence[_Filter], paths: Sequence[tuple[str, ...]]) -> Callable[[Event], object]:
    """A function of an event: None, the number of the filter that drops it, or those of all that edit it.

    Segment's order over all filters: samples, drops, and then what takes properties out.
    """
    reading = ValueReader(paths)
    source = Source(reading.expression)
    lines: list[str] = []
    for number, one in enumerate(filters):
        for sample in one.actions.samples:
            value = "None" if sample.path is None else reading.expression(Path(sample.path))
            keeps = source.keep(sample.keeps, "keeps")
            lines.append(f"if {source.condition(one.condition)} and not {keeps}({value}, event.message_id):")
            lines.append(f"    return {number}")
    for number, one in enumerate(filters):
        if one.actions.drops:
            lines += [f"if {source.condition(one.condition)}:", f"    return {number}"]
    editing = [
        (number, one) for number, one in enumerate(filters) if one.actions.drop_fields or one.actions.allow_fields
    ]
    if editing:
        lines.append("edits = ()")
        for number, one in editing:
            lines += [f"if {source.condition(one.condition)}:", f"    edits += ({number},)"]
        lines.append("return edits or None")
    return _function(reading, source, lines or ["return None"])


def _matcher(condition: Condition) -> _Matches:
    reading = ValueReader(paths_of([condition]))
    source = Source(reading.expression)
    return cast("_Matches", _function(reading, source, [f"return {source.condition(condition)}"]))


def _value_of(path: tuple[str, ...]) -> Callable[[Event], object]:
    reading = ValueReader([path])
    return _function(reading, Source(reading.expression), [f"return {reading.expression(Path(path))}"])


def payload_matcher(condition: Condition) -> Callable[[dict[str, object]], bool]:
    """The condition as a function of a decoded payload, which need not be an event: for the preview."""
    source = Source(lambda path: f"dig(event, {path.parts!r})")
    text = f"def decide(event):\n    return {source.condition(condition)}\n"
    return cast("Callable[[dict[str, object]], bool]", _defined(text, {"dig": dig, **source.names}))


def _function(reading: ValueReader, source: Source, lines: Sequence[str]) -> Callable[[Event], object]:
    head = ["wire = event.wire", *(f"{member} = UNREAD" for member in reading.members)]
    text = "def decide(event):\n" + "".join(f"    {line}\n" for line in [*head, *lines])
    return _defined(text, {**reading.names, **source.names})


def _defined(text: str, names: Mapping[str, object]) -> Callable[[Any], object]:
    scope: dict[str, Any] = dict(names)
    # Made of names and constants of our own: nothing that a filter's author wrote stands in the text but by `repr`.
    exec(compile(text, "<filters>", "exec"), scope)
    return cast("Callable[[Any], object]", scope["decide"])
