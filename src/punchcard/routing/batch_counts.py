"""What is counted of a routed batch: for pages, for the source schema and for metrics."""

from collections import Counter

from punchcard.events.model import Event
from punchcard.routing.batch import Batch
from punchcard.store.delivery.counts import MINUTE_MICROS, RECEIVED, CountKey
from punchcard.store.routing.event_results import ResultBatch


def counts_by_status(results: ResultBatch) -> Counter[tuple[str, str, str]]:
    """Return how often each (destination, result, reason) occurs, for metrics; "" where there is none."""
    by_number = Counter(number for record in results.records for number in record.results)
    counts: Counter[tuple[str, str, str]] = Counter()
    for number, count in by_number.items():
        for result in results.distinct[number]:
            counts[result.destination or "", result.status, result.reason or ""] += count
    return counts


def count_notes(batch: Batch) -> Counter[tuple[int, str, str]]:
    """Return how many events had something converted, by the instant of receipt, source and reason of the note.

    An event counts once for each reason, however many of its values it is about.
    """
    counts: Counter[tuple[int, str, str]] = Counter()
    for record, source, items in zip(batch.records, batch.sources, batch.items, strict=True):
        # Events that were changed in the same way share their notes.
        shared = {id(item.notes): item.notes for item in items if item.notes}
        numbers = Counter([id(item.notes) for item in items if item.notes])
        for key, notes in shared.items():
            for reason in {note.reason for note in notes}:
                counts[record.received_at, source or "", reason] += numbers[key]
    return counts


def counts_to_keep(results: ResultBatch, batch: Batch) -> Counter[CountKey]:
    """What the store counts of a routed batch: every event as received, and every result."""
    counts: Counter[CountKey] = Counter()
    for record, items, routed in zip(batch.records, batch.items, results.records, strict=True):
        bucket = record.received_at - record.received_at % MINUTE_MICROS
        if not routed.results:
            continue
        # Lists and `zip`, because a generator of tuples takes three times as long.
        types = [item.type if isinstance(item, Event) else "" for item in items]
        names = [item.wire.event if isinstance(item, Event) else None for item in items]
        alike = Counter(zip(types, names, routed.results, strict=True))
        for (event_type, event_name, number), count in alike.items():
            base = CountKey(bucket, routed.source or "", "", str(event_type), event_name or "", RECEIVED, "")
            counts[base] += count
            for result in results.distinct[number]:
                key = base._replace(
                    destination=result.destination or "", status=result.status.value, reason=result.reason or ""
                )
                counts[key] += count
    return counts
