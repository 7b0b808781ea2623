"""Restore the facts from lake and store, as far as they are missing or belong to another state."""

from punchcard.clock import Clock
from punchcard.engage.facts import Facts, Meta
from punchcard.engage.person_events import PersonEvents, read_events
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.lake.reader import LakeReader
from punchcard.profiles.external_ids import IdReader
from punchcard.store.engage.profile_merging import list_merges
from punchcard.store.engage.profiles import owners_of, read_profiles, read_traits
from punchcard.store.engine import Store

_EVENTS_PER_PART = 50_000
_ROWS_PER_BATCH = 50_000


def restore(
    facts: Facts, store: Store, lake: LakeReader, ids: IdReader, *, position: int, stamp: int, clock: Clock
) -> None:
    """Bring the facts to the state of the store.

    Args:
        position: The last log position that the store has processed.
        stamp: The state of the store.

    Raises:
        StorageError: Lake, store or facts failed; call again.
    """
    begun = clock.monotonic()
    if facts.meta().state > stamp:
        facts.recreate()  # the store was restored from an older copy, which does not know later merges
    events = _restore_events(facts, store, lake, ids, position, stamp=stamp)
    with facts.unit_of_work():
        people = _restore_people(facts, store)
        facts.save_meta(Meta(position=position, stamp=stamp, computed_at=0))
    if events or people:
        EngageTelemetry().facts_restored(people=people, events=events, seconds=clock.monotonic() - begun)


def _restore_events(facts: Facts, store: Store, lake: LakeReader, ids: IdReader, position: int, *, stamp: int) -> int:
    """Read the events again that the facts lack; the store knows their profiles by now."""
    count = 0
    meta = facts.meta()
    at = min(meta.position, position)
    with facts.unit_of_work():
        facts.forget_behind(at)
        _follow_merges(facts, store)
    while at < position:
        events = [event for event in lake.after(at, limit=_EVENTS_PER_PART) if event.log_position <= position]
        reading = read_events(events, ids)
        at = reading.through or position
        _find_owners(store, reading)
        with facts.unit_of_work():
            facts.add_facts(reading.facts)
            facts.save_meta(Meta(position=at, stamp=stamp, computed_at=0).unfinished())
        count += len(events)
    return count


def _find_owners(store: Store, reading: PersonEvents) -> None:
    """Assign each event to the profile that its strongest id leads to."""
    with store.reading() as work:
        owners = owners_of(work, {external_id for person in reading.people for external_id in person.ids})
    # The identity rules may have changed since, so an id may lead nowhere; then the next one decides.
    owners_of_facts = [
        next((owners[external_id] for external_id in reading.people[number].ids if external_id in owners), None)
        for number in reading.fact_people
    ]
    if None in owners_of_facts:
        reading.facts = reading.facts.only([profile is not None for profile in owners_of_facts])
    reading.facts.profiles = [profile for profile in owners_of_facts if profile is not None]


def _follow_merges(facts: Facts, store: Store) -> None:
    with store.reading() as work:
        merges = list_merges(work)
    facts.merge_again(merges)


def _restore_people(facts: Facts, store: Store) -> int:
    facts.run("DELETE FROM people")
    facts.run("DELETE FROM traits")
    facts.forget_lists()
    count = 0
    with store.reading() as work:
        for people in read_profiles(work, rows_per_batch=_ROWS_PER_BATCH):
            facts.add_people(people)
            count += len(people)
        for traits in read_traits(work, rows_per_batch=_ROWS_PER_BATCH):
            facts.set_traits(traits)
    # Profiles that were deleted while another process led Engage, with a file of its own.
    facts.run("DELETE FROM facts WHERE profile NOT IN (SELECT profile FROM people)")
    return count
