"""Apply the rules of a source to the events of a record, and keep what they make from reaching suppressed persons.

Who is suppressed is known by the ids of an event as it was received. A transformation may give it another id, such as
the email in a property of another name, so events and awards that were changed are compared once more.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from punchcard.events.model import Event
from punchcard.routing.planning import internal_error
from punchcard.routing.records import Item
from punchcard.routing.source_rules import SourceRules
from punchcard.routing.suppression import SUPPRESSED_RESULTS, Suppressions, suppressed_at
from punchcard.store.routing.event_results import EventResult, RewrittenEvent

if TYPE_CHECKING:
    from punchcard.routing.batch import Batch


def apply_rules(
    batch: "Batch", number: int, rules: SourceRules | None, *, source: str, suppressions: Suppressions | None
) -> dict[int, EventResult]:
    """Return the results of the events of a record that are not planned, by their index.

    Puts the other events as the rules of their source leave them in the place of the received ones.

    Args:
        number: Of the record in the batch.
        source: Slug.
    """
    suppressed = batch.suppressed.get(number, ())
    stopped = dict.fromkeys(suppressed, SUPPRESSED_RESULTS[0])
    if rules is None:
        return stopped
    received = batch.items[number]
    items = list(received)
    rewritten: list[RewrittenEvent] = []
    transformed: dict[bytes, list[int]] = {}
    for index, item in enumerate(items):
        if not isinstance(item, Event) or index in suppressed:
            continue
        try:
            ruled = rules.apply(item)
        except Exception as error:  # noqa: BLE001  # whatever one event makes of our code, the others go on
            stopped[index] = internal_error(error)
            continue
        if ruled is None:
            continue
        if ruled.event is not None and ruled.event is not item:
            items[index] = ruled.event
            if ruled.changes is not None:
                transformed.setdefault(ruled.changes, []).append(index)
                continue
            text = None if ruled.event.raw is item.raw else ruled.event.raw
            rewritten.append(RewrittenEvent(index, text, ruled.notes))
        if ruled.result is not None:
            stopped[index] = ruled.result
        batch.violations += [(number, index, violation) for violation in ruled.violations]
    batch.items[number] = items
    batch.rewritten[number] = rewritten
    batch.transformed[number] = transformed
    if suppressions:
        changed = [index for index, item in enumerate(items) if item is not received[index] and index not in stopped]
        matches = {changed[place] for place in suppressions.find([items[index] for index in changed], source)}
        _restore_received(batch, number, matches, received)
        stopped |= dict.fromkeys(matches, SUPPRESSED_RESULTS[0])
    return stopped


def _restore_received(batch: "Batch", number: int, indices: set[int], received: Sequence[Item]) -> None:
    """Put events of suppressed persons as they were received in the place of the changed ones."""
    if not indices:
        return
    batch.suppressed[number] = batch.suppressed.get(number, set()) | indices
    batch.items[number] = [
        received[index] if index in indices else item for index, item in enumerate(batch.items[number])
    ]
    batch.rewritten[number] = [event for event in batch.rewritten[number] if event.index not in indices]
    batch.transformed[number] = {
        changes: [index for index in places if index not in indices]
        for changes, places in batch.transformed[number].items()
    }
    batch.violations = [
        violation for violation in batch.violations if violation[0] != number or violation[1] not in indices
    ]


def refuse_suppressed_customers(batch: "Batch", suppressions: Suppressions) -> None:
    """Give awards for suppressed customers their result, where a destination's own transformations may name them."""
    places, effects = batch.places, batch.planned_effects
    batch.places, batch.planned_effects = [], []
    for place, effect in zip(places, effects, strict=True):
        destination = effect.planned.destination
        if effect.source in destination.transformations and suppressions.is_suppressed_customer(
            effect.planned.intent.email, effect.source
        ):
            number, index = place
            batch.results[number][index] += (suppressed_at(destination.slug),)
        else:
            batch.places.append(place)
            batch.planned_effects.append(effect)
