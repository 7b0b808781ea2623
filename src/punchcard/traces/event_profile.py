"""The profile of an event: the one that its strongest id leads to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from punchcard.lake.reader import LakeEvent
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import EMAIL, USER_ID
from punchcard.store.engage.profile_queries import get_profile
from punchcard.store.engage.profiles import ids_of, owners_of, traits_of


@dataclass(frozen=True, kw_only=True)
class ProfileTrace:
    """The profile of an event as it is now.

    Attributes:
        public_id: `use_…`.
        ids: External ids, type and value.
        audiences: Keys of the current audiences.
    """

    public_id: str
    ids: Sequence[tuple[str, str]]
    audiences: Sequence[str]

    @property
    def name(self) -> str:
        """The display name: an email, else a user id, else the id of the profile."""
        by_type = dict(reversed(self.ids))
        return by_type.get(EMAIL) or by_type.get(USER_ID) or self.public_id


def owners_of_events(work: Connection, events: Sequence[LakeEvent], reader: IdReader) -> list[int | None]:
    """Return the profile of each event, None for an event without a profile, or one that Engage has not read yet."""
    ids = [
        reader.ids_of(user_id=event.user_id, anonymous_id=event.anonymous_id, email=event.email, payload=event.payload)
        for event in events
    ]
    owners = owners_of(work, {external_id for ids_of_event in ids for external_id in ids_of_event})
    # An id that leads nowhere is one that Engage has not come to, or that other rules gave nobody.
    return [_first_owner(ids_of_event, owners) for ids_of_event in ids]


def profile_trace(work: Connection, event: LakeEvent, reader: IdReader) -> ProfileTrace | None:
    """Return the profile of an event, None if none has its ids."""
    [owner] = owners_of_events(work, [event], reader)
    profile = None if owner is None else get_profile(work, owner)
    if profile is None:
        return None
    traits = traits_of(work, [profile.id])
    return ProfileTrace(
        public_id=profile.public_id,
        ids=sorted(ids_of(work, [profile.id])[profile.id]),
        audiences=sorted(trait.name for trait in traits if trait.computation == "audience" and trait.value == "true"),
    )


def _first_owner(ids: Sequence[tuple[str, str]], owners: Mapping[tuple[str, str], int]) -> int | None:
    return next((owners[external_id] for external_id in ids if external_id in owners), None)
