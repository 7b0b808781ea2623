"""What does the remedy of a result: a page, a button or a command. Reasons declare their action, this resolves it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

import msgspec

from punchcard.destinations.reasons import Action
from punchcard.store.delivery.effects import NOTHING_TO_CORRECT, SUPERSEDED, UNCERTAIN_REASONS
from punchcard.store.delivery.effects import Action as AttemptAction
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.reasons import find_reason, remedy_of
from punchcard.traces.trace import EventTrace, ResultTrace

_RETRYABLE = (EventStatus.PARKED, EventStatus.REJECTED)
_LABELS = {
    Action.RETRY: "Retry",
    Action.RESUME: "Resume destination",
    Action.REPLAY: "Replay",
    Action.MAP: "Map event",
    Action.FILTERS: "Open filters",
    Action.SETTINGS: "Open settings",
    Action.SOURCE: "Open source",
    Action.PROTOCOLS: "Open enforcement",
    Action.SCHEMA: "Open schema",
    Action.TRANSFORMATIONS: "Open transformations",
    Action.RESOLVE_DOUBT: "Resolve",
    Action.RESOLVE_CONFLICT: "Resolve conflict",
}
_STOPPED_BY_RULES = frozenset({Action.PROTOCOLS, Action.SCHEMA, Action.TRANSFORMATIONS})
_SOURCE_PAGES = {
    Action.SOURCE: "",
    Action.PROTOCOLS: "/protocols",
    Action.SCHEMA: "/schema",
    Action.TRANSFORMATIONS: "",
}


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What an operator can do about a result.

    Attributes:
        label: For a button or a link.
        path: The page of the App that does it.
        command: The same on the command line, "" if there is none.
        effect_id: With `Action.RETRY`: what to put back in the queue.
    """

    action: Action
    label: str
    path: str
    command: str = ""
    effect_id: int | None = None


class _Named(msgspec.Struct):
    event: str | None = None


def trace_remedies(
    result: ResultTrace, trace: EventTrace, destinations: Mapping[str, str] = MappingProxyType({})
) -> list[Remedy]:
    """Return what an operator can do about a result of a traced event, the usual first.

    Args:
        destinations: Names of the destinations of its source by their slugs: it can be replayed to them if its source
            stopped it.
    """
    name = _event_name(trace.event)
    remedies = find_remedies(result, message_id=trace.message_id, source=trace.source, event_name=name)
    if result.destination is None and _action(result) in _STOPPED_BY_RULES:
        for slug, name in destinations.items():
            label = _LABELS[Action.REPLAY] if len(destinations) == 1 else f"Replay to {name}"
            remedies.append(_replay(slug, trace.message_id, label=label))
    return remedies


def find_remedies(result: ResultTrace, *, message_id: str, source: str | None, event_name: str | None) -> list[Remedy]:
    """Return what an operator can do about a result of an event, the usual first.

    Args:
        source: Slug of the event's source, None if it is not known.
        event_name: Of a track call, None for other calls.
    """
    slug = result.destination
    if slug is None:
        action = _action(result)
        return [] if action not in _SOURCE_PAGES else [_remedy(action, _source_page(action, source))]
    base, at = f"/destinations/{quote(slug, safe='')}", shlex.quote(slug)
    if result.conflict is not None and result.conflict.resolution is None:
        number = result.conflict.id
        path = f"{base}/conflicts/{number}"
        return [_remedy(Action.RESOLVE_CONFLICT, path, command=f"punchcard conflicts {number}")]
    remedies: list[Remedy] = []
    match _action(result):
        case Action.RESUME if result.status is EventStatus.DESTINATION_OFF:
            remedies = [
                Remedy(
                    action=Action.RESUME,
                    label="Switch on",
                    path=f"{base}/state",
                    command=f"punchcard destination on {at}",
                ),
                _replay(slug, message_id),
            ]
        case Action.RESUME:
            remedies = [_remedy(Action.RESUME, f"{base}/state", command=f"punchcard destination resume {at}")]
        case Action.MAP:
            added = f"?add={quote(event_name, safe='')}" if event_name else ""
            remedies = [_remedy(Action.MAP, f"{base}/map{added}")]
        case Action.FILTERS:
            remedies = [_remedy(Action.FILTERS, f"{base}/filters")]
        case Action.SETTINGS:
            remedies = [_remedy(Action.SETTINGS, f"{base}/settings")]
        case Action.SOURCE if source:
            remedies = [_remedy(Action.SOURCE, _source_page(Action.SOURCE, source))]
        case Action.TRANSFORMATIONS:
            page = _remedy(Action.TRANSFORMATIONS, _source_page(Action.TRANSFORMATIONS, source))
            remedies = [page, _replay(slug, message_id)]
    return remedies + _award_remedies(result, base, message_id)


def _award_remedies(result: ResultTrace, base: str, message_id: str) -> list[Remedy]:
    """Return what an operator can do about an award itself: send it again, or say whether it was performed."""
    remedies: list[Remedy] = []
    is_final = result.reason in (SUPERSEDED, NOTHING_TO_CORRECT)
    if result.status in _RETRYABLE and result.effect_id is not None and not is_final:
        remedies.append(
            Remedy(
                action=Action.RETRY,
                label=_LABELS[Action.RETRY],
                path=f"{base}/transactions",
                command=f"punchcard retry {shlex.quote(message_id)}",
                effect_id=result.effect_id,
            )
        )
    if is_in_doubt(result):
        path = f"{base}/transactions/{result.effect_id}/resolve"
        remedies.append(_remedy(Action.RESOLVE_DOUBT, path, command=f"punchcard resolve {shlex.quote(message_id)}"))
    return remedies


def is_in_doubt(result: ResultTrace) -> bool:
    """Whether only a person can say if an award was performed, or sooner than Punchcard."""
    if result.effect_id is None:
        return False
    if result.status in _RETRYABLE:
        return result.reason in UNCERTAIN_REASONS
    last = result.attempts[-1] if result.attempts else None
    return (
        result.status is EventStatus.UNKNOWN
        and last is not None
        and last.action == AttemptAction.READ_BACK
        and last.outcome is not None
    )


def next_step(result: ResultTrace) -> str:
    """Return what to do about a result as plain text, "" for nothing: its conflict is resolved, for example."""
    is_resolved = result.conflict is not None and result.conflict.resolution is not None
    return "" if is_resolved else remedy_of(result.reason)


def _event_name(event: bytes) -> str | None:
    try:
        return msgspec.json.decode(event, type=_Named).event
    except msgspec.DecodeError:
        return None


def _action(result: ResultTrace) -> Action | None:
    reason = find_reason(result.reason)
    return None if reason is None else reason.action


def _source_page(action: Action, source: str | None) -> str:
    """Return the path of the page that decides what happens to events of a source."""
    if action is Action.TRANSFORMATIONS:
        return "/transformations"
    return f"/sources/{quote(source, safe='')}{_SOURCE_PAGES[action]}" if source else "/sources"


def _replay(slug: str, message_id: str, *, label: str = _LABELS[Action.REPLAY]) -> Remedy:
    """Return the replay of one event to a destination."""
    path = f"/destinations/{quote(slug, safe='')}/replays?message_id={quote(message_id, safe='')}"
    command = f"punchcard replay --destination {shlex.quote(slug)} --message-id {shlex.quote(message_id)}"
    return Remedy(action=Action.REPLAY, label=label, path=path, command=command)


def _remedy(action: Action, path: str, *, command: str = "") -> Remedy:
    return Remedy(action=action, label=_LABELS[action], path=path, command=command)
