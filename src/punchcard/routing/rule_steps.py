"""What the steps of a source's rules have in common: what a step is, what it makes of an event, and how it makes it."""

from typing import NamedTuple, Protocol

import msgspec

from punchcard.errors import PunchcardError
from punchcard.events.faults import Fault
from punchcard.events.model import Event
from punchcard.events.notes import Note
from punchcard.events.parse import read_rewritten
from punchcard.store.routing.event_results import EventResult, EventStatus


class Violation(NamedTuple):
    """What in an event is not as its tracking plan says.

    Attributes:
        plan: Identifier of the tracking plan.
        kind: Segment's `violationType`.
        field: Path in the event, such as `properties.total`; "" for the event itself.
        detail: A sentence.
    """

    plan: str
    kind: str
    field: str
    detail: str


class Ruled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a step, or all of them, made of an event.

    Attributes:
        event: The event afterwards: of a step that stops it None, of all steps together what is stored of it.
        result: Why the event goes no further; None if it goes on.
        notes: What was changed, a sentence each, such as `Property total renamed to revenue`.
        violations: What is not as the tracking plan says, whether or not it stops the event.
        changes: What `change_sets.apply_stored` needs to make the same of the event again, notes included; None if it
            cannot.
    """

    event: Event | None
    result: EventResult | None = None
    notes: tuple[Note, ...] = ()
    violations: tuple[Violation, ...] = ()
    changes: bytes | None = None


class Step(Protocol):
    """A step of the rules of a source. It never changes type, message id and times of an event."""

    @property
    def is_final(self) -> bool:
        """True if what it rewrites is stored of a stopped event too, so that it is not applied again at a replay.

        Such steps come before all others: they keep values from being stored at all.
        """

    def apply(self, event: Event) -> Ruled | None:
        """Return what the step makes of an event; None, as for most events, if it has nothing to do with it.

        What it raises ends the event as `internal_error`; it is quarantined, and no other event is affected.
        """


class RewritingError(PunchcardError):
    """What the rules of a source make of an event is not a valid event."""


def stopped(reason: str, detail: str) -> Ruled:
    """Return what stops an event, for a reason of its source."""
    return Ruled(event=None, result=EventResult(None, EventStatus.FILTERED_AT_SOURCE, reason, detail))


def rewrite(event: Event, raw: bytes) -> Event:
    """Return the event with another JSON text, read as any other event.

    Raises:
        RewritingError: The text is not a valid event: it is too large, for example, or has no id of a person.
    """
    rewritten = read_rewritten(event, raw)
    if isinstance(rewritten, Fault):
        raise RewritingError(rewritten.detail)
    return rewritten
