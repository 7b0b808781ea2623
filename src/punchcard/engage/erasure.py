"""Delete profiles for regulations, in the process that leads Engage: it alone writes profiles and facts."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

import msgspec
from sqlalchemy import Connection

from punchcard.engage.demand import ERASED, STAMP
from punchcard.engage.facts import Facts
from punchcard.errors import ConfigurationError, StorageError
from punchcard.events.sequence import seq_of
from punchcard.lake.subject_events import SubjectEvent
from punchcard.profiles.erasure import ErasedIds
from punchcard.profiles.rules import ANONYMOUS_ID, EMAIL, USER_ID
from punchcard.store.engage.erasure import erase_named_traits, erase_profile_ids, erase_profiles, with_merged
from punchcard.store.engage.profiles import StoredTrait, owners_of, traits_of
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import (
    Regulation,
    RegulationStatus,
    Step,
    unfinished_regulations,
    update_regulation,
)
from punchcard.store.routing.positions import advance, note_position, position_of
from punchcard.workspace.subject_vault import SubjectVault

PROFILES = "profiles"
"""The stage of a deletion at which its profiles are deleted, so that nothing more is synced about them."""

PROFILES_AGAIN = "profiles_again"
"""The stage after the lake was cleared: what Engage has read meanwhile is deleted, and everything is computed again."""

_PROFILES_AT_ONCE: Final = 200
_NEXT = {PROFILES: "records", PROFILES_AGAIN: "remaining"}


class ErasedIdentity(msgspec.Struct, frozen=True, rename="camel"):
    """What a running deletion knows of its subjects, encrypted in the store until it is finished.

    Attributes:
        effects: Ids of effects that are perhaps performed, or that forward the deletion: they are erased once they have
            ended.
        forwarded: By destination, those that forward it.
        conflicts: Log position and index of events of others that name a subject in their results.
        later: Places of events of the subjects that came after those which were cleared first.
        cleared_through: Everything about events up to this log position is cleared but for their rows in the lake.
    """

    ids: ErasedIds = msgspec.field(default_factory=ErasedIds)
    effects: tuple[int, ...] = ()
    forwarded: dict[str, tuple[int, ...]] = {}
    conflicts: tuple[tuple[int, int], ...] = ()
    later: tuple[tuple[int, int], ...] = ()
    cleared_through: int = 0


_decoder = msgspec.json.Decoder(ErasedIdentity)


def read_identity(vault: SubjectVault, regulation: Regulation) -> ErasedIdentity:
    """Return what a running deletion knows of its subjects.

    Raises:
        ConfigurationError: It was encrypted with another secret key.
    """
    return ErasedIdentity() if regulation.identity is None else _decoder.decode(vault.decrypt(regulation.identity))


def write_identity(vault: SubjectVault, identity: ErasedIdentity) -> str:
    """Return the identity as the store has it."""
    return vault.encrypt(msgspec.json.encode(identity).decode())


class SubjectEvents(Protocol):
    """Finds events in the lake."""

    def candidates(self, ids: ErasedIds) -> Iterable[SubjectEvent]:
        """Return the events that have an id of a subject, and the items that are not valid events."""


def is_erased(event: SubjectEvent, ids: ErasedIds, regulation: Regulation) -> bool:
    """Return whether a deletion deletes an event: it is about a subject, and of the source that it is limited to."""
    return (not regulation.only_source or event.source == regulation.only_source) and event.is_of(ids)


def erase_for_regulations(
    store: Store,
    facts: Facts,
    vault: SubjectVault,
    lake: SubjectEvents,
    *,
    discard_snapshots: Callable[[], None] = lambda: None,
) -> bool:
    """Delete the profiles of the deletions that have come to that.

    Args:
        discard_snapshots: Deletes the snapshots of the facts.

    Returns:
        True if everything must be computed again: of a deletion, nothing is left in the facts.

    Raises:
        StorageError: Store, lake or facts failed; call again.
    """
    with store.reading() as work:
        regulations = [regulation for regulation in unfinished_regulations(work) if regulation.stage in _NEXT]
    due: list[tuple[Regulation, ErasedIdentity]] = []
    for regulation in regulations:
        try:
            due.append((regulation, read_identity(vault, regulation)))
        except ConfigurationError as error:
            with store.unit_of_work() as work:
                update_regulation(work, regulation, detail=error.message)
    is_last = any(regulation.stage == PROFILES_AGAIN for regulation, _ in due)
    # The facts first: if anything fails then, this is done again.
    for regulation, identity in due:
        _erase_facts(store, facts, regulation, identity, lake)
    if is_last:
        _outdate_other_facts(store, facts)
        facts.discard_deleted()
        discard_snapshots()
    for regulation, identity in due:
        _erase_profiles(store, regulation, identity.ids)
    return is_last


def _outdate_other_facts(store: Store, facts: Facts) -> None:
    """Outdate the facts that other machines have of the time before, so that they discard them."""
    with store.unit_of_work() as work:
        stamp = position_of(work, STAMP)
        if facts.meta().stamp != stamp or not advance(work, STAMP, expected=stamp, to=stamp + 1):
            raise StorageError("Another process computes audiences and traits.")
        note_position(work, ERASED, stamp + 1)
    facts.save_meta(replace(facts.meta(), stamp=stamp + 1, computed_at=0))


def _erase_facts(
    store: Store, facts: Facts, regulation: Regulation, identity: ErasedIdentity, lake: SubjectEvents
) -> None:
    ids = identity.ids
    profiles: set[int] = set()
    named_traits: list[StoredTrait] = []
    if not regulation.only_source:
        with store.reading() as work:
            profiles = _profiles_of(work, ids)
            named_traits = [
                trait for trait in traits_of(work, _others_with_email(work, ids)) if ids.mentions(trait.value)
            ]
    # An event of a subject may have been given to another profile, such as one with an id that the rules exclude.
    if regulation.stage == PROFILES_AGAIN:
        places: list[tuple[int, int]] = list(identity.later)
    else:
        places = [event.place for event in lake.candidates(ids) if is_erased(event, ids, regulation)]
    with facts.unit_of_work():
        for table in ("facts", "traits", "people", "list_members"):
            facts.delete_people(table, profiles)
        facts.set_traits([(trait.profile_id, trait.name, "null", trait.computation) for trait in named_traits])
        facts.delete_events(seq_of(position, index) for position, index in places)


def _erase_profiles(store: Store, regulation: Regulation, ids: ErasedIds) -> None:
    """Delete profiles from the store: in portions, so that routing and delivery need not wait for all of them."""
    if regulation.only_source:
        with store.unit_of_work() as work:
            update_regulation(work, regulation, stage=_NEXT[regulation.stage], detail="")
        return
    with store.reading() as work:
        profiles = sorted(_profiles_of(work, ids))
    existing = next((step.count for step in regulation.progress.stores if step.id == "profiles"), 0)
    deleted = 0
    for begin in range(0, len(profiles), _PROFILES_AT_ONCE):
        with store.unit_of_work() as work:
            deleted += erase_profiles(work, profiles[begin : begin + _PROFILES_AT_ONCE])
    with store.unit_of_work() as work:
        deleted += erase_profiles(work, _profiles_of(work, ids))
        erase_profile_ids(work, ids)
        erase_named_traits(work, _others_with_email(work, ids), ids)
        step = Step(
            id="profiles",
            name="Profiles",
            status=RegulationStatus.FINISHED if regulation.stage == PROFILES_AGAIN else RegulationStatus.RUNNING,
            count=existing + deleted,
        )
        update_regulation(
            work, regulation, stage=_NEXT[regulation.stage], progress=regulation.progress.with_store(step), detail=""
        )


def _profiles_of(work: Connection, ids: ErasedIds) -> set[int]:
    """Return the profiles that were known when the deletion began, and those that were created since."""
    values = ((USER_ID, ids.user_ids), (EMAIL, ids.emails), (ANONYMOUS_ID, ids.anonymous_ids))
    owners = set(owners_of(work, {(type_, value) for type_, of_type in values for value in of_type}).values())
    # Once the profile is gone, the next event of somebody else with its email or device gives the id to theirs.
    others = set(owners_of(work, {(USER_ID, user_id) for user_id in ids.foreign_user_ids}).values())
    return with_merged(work, ids.profiles | (owners - others))


def _others_with_email(work: Connection, ids: ErasedIds) -> set[int]:
    """Return the profiles of other persons of whom events were deleted, because they have an email of a subject."""
    if not ids.named_emails:
        return set()
    others = {(USER_ID, value) for value in ids.foreign_user_ids} | {(EMAIL, value) for value in ids.foreign_emails}
    return set(owners_of(work, others).values())
