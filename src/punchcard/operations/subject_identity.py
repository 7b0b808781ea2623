"""All ids of the subjects of a regulation: those that were named, and those that lead to the same profiles.

An id may also occur in events of other persons: on a shared device, or with a shared email. The user id decides, then
the email; in a deletion by email, that email does. See `ErasedIds.owns`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from msgspec.structs import replace
from sqlalchemy import Connection

from punchcard.events.emails import trimmed_email
from punchcard.lake.subject_events import SubjectEvent
from punchcard.operations.ledger_subjects import find_in_ledger
from punchcard.profiles.erasure import ErasedIds
from punchcard.profiles.rules import ANONYMOUS_ID, EMAIL, USER_ID
from punchcard.store.engage.erasure import with_merged
from punchcard.store.engage.profiles import ids_of, owners_of
from punchcard.store.privacy.regulations import Regulation, SubjectType
from punchcard.workspace.subject_vault import SubjectVault

_TYPES: Final = {
    SubjectType.USER_ID: USER_ID,
    SubjectType.EMAIL: EMAIL,
    SubjectType.ANONYMOUS_ID: ANONYMOUS_ID,
}


def resolve_subjects(
    work: Connection,
    vault: SubjectVault,
    subject_type: SubjectType,
    subjects: Collection[str],
    *,
    candidates: Callable[[ErasedIds], Iterable[SubjectEvent]] = lambda _: (),
) -> ErasedIds:
    """Return all ids of the subjects.

    Args:
        vault: Opens the key of the hashes by which effects of these ids are found.
        candidates: Returns the events of the lake that have an id of a subject.

    Raises:
        StorageError: The lake cannot be read.
    """
    type_ = _TYPES[subject_type]
    ids, profiles = _with_profiles(work, {(type_, value) for value in _named(subject_type, subjects)})
    ids |= {(EMAIL, email) for email in find_in_ledger(work, vault, erased_ids(ids, profiles)).emails}
    events = list(candidates(erased_ids(ids, profiles)))
    # What Engage has not given to any profile is known from the events alone.
    unowned = _ids_beside(work, events, ids)
    if unowned:
        ids, profiles = _with_profiles(work, ids | unowned)
    foreign = _foreign_ids(work, events, ids, profiles)
    return erased_ids(ids, profiles, foreign)


def resolve_regulated(
    work: Connection,
    vault: SubjectVault,
    regulation: Regulation,
    subjects: Collection[str],
    *,
    candidates: Callable[[ErasedIds], Iterable[SubjectEvent]],
) -> ErasedIds:
    """Return all ids of the subjects of a regulation; of a suppression, only those of profiles and ledger.

    Args:
        vault: As for `resolve_subjects`.
        candidates: Returns the events of the lake that have an id of a subject.

    Raises:
        StorageError: The lake cannot be read.
    """
    subject_type = regulation.subject_type
    if not regulation.type.deletes:
        return resolve_subjects(work, vault, subject_type, subjects)
    ids = resolve_subjects(work, vault, subject_type, subjects, candidates=candidates)
    if subject_type is not SubjectType.EMAIL:
        return ids
    # A guest may have another user id with each order, and the same email.
    return replace(ids, named_emails=frozenset(_named(subject_type, subjects)))


def _named(subject_type: SubjectType, subjects: Collection[str]) -> set[str]:
    if subject_type is not SubjectType.EMAIL:
        return set(subjects)
    return {trimmed_email(subject) or subject for subject in subjects}


def erased_ids(
    ids: Collection[tuple[str, str]], profiles: Collection[int], foreign: Collection[tuple[str, str]] = ()
) -> ErasedIds:
    """Return external ids, each type and value, by their types."""

    def of(type_: str, among: Collection[tuple[str, str]] = ids) -> frozenset[str]:
        return frozenset(value for each, value in among if each == type_)

    usual = (USER_ID, EMAIL, ANONYMOUS_ID)
    return ErasedIds(
        user_ids=of(USER_ID),
        emails=of(EMAIL),
        anonymous_ids=of(ANONYMOUS_ID),
        others=frozenset(value for type_, value in ids if type_ not in usual),
        profiles=frozenset(profiles),
        foreign_user_ids=of(USER_ID, foreign),
        foreign_emails=of(EMAIL, foreign),
    )


def shared_events(events: Iterable[SubjectEvent], ids: ErasedIds) -> str:
    """Return a sentence about events that have an id of a subject and belong to another person, "" for none.

    Args:
        events: Those of the lake that have an id of a subject.
    """
    others = [event for event in events if event.text is None and not event.is_of(ids)]
    if not others:
        return ""
    persons = len({_user_of(event) or _email_of(event) for event in others})
    having = (
        f"{len(others)} events of {persons} other persons"
        if persons > 1
        else f"{len(others)} of another person's events"
    )
    return (
        f"Kept: {having} with the same email or anonymous id. They have a user id or email of their own: delete that, "
        "too, if it is the same person. A deletion by email deletes all events with the email."
    )


def external_ids_of(ids: ErasedIds) -> set[tuple[str, str]]:
    """Return the ids that name persons in events, each type and value."""
    values = ((USER_ID, ids.user_ids), (EMAIL, ids.emails), (ANONYMOUS_ID, ids.anonymous_ids))
    return {(type_, value) for type_, of_type in values for value in of_type}


def _with_profiles(work: Connection, ids: Collection[tuple[str, str]]) -> tuple[set[tuple[str, str]], set[int]]:
    """Return the ids with all others of their profiles, and these profiles."""
    profiles = set(owners_of(work, ids).values())
    members = ids_of(work, profiles).values()
    return set(ids).union(*members), with_merged(work, profiles)


def _ids_beside(
    work: Connection, events: Sequence[SubjectEvent], ids: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return the user ids and emails that events have beside an id of a subject, and that lead to no profile."""
    beside: set[tuple[str, str]] = set()
    for event in events:
        if event.text is not None:
            continue
        user, email = _user_of(event), _email_of(event)
        if user is not None and user not in ids and email in ids:
            beside.add(user)
        if email is not None and email not in ids and user in ids:
            beside.add(email)
    return beside - owners_of(work, beside).keys()


def _foreign_ids(
    work: Connection, events: Sequence[SubjectEvent], ids: Collection[tuple[str, str]], profiles: Collection[int]
) -> set[tuple[str, str]]:
    """Return the user ids and emails of other persons in events that also have an id of a subject."""
    others: set[tuple[str, str]] = set()
    for event in events:
        if event.text is None:
            others.update(
                external_id
                for external_id in (_user_of(event), _email_of(event))
                if external_id is not None and external_id not in ids
            )
    return {external_id for external_id, owner in owners_of(work, others).items() if owner not in profiles}


def _user_of(event: SubjectEvent) -> tuple[str, str] | None:
    return None if event.user_id is None else (USER_ID, event.user_id)


def _email_of(event: SubjectEvent) -> tuple[str, str] | None:
    return None if event.email is None else (EMAIL, event.email)
