"""Finds people: by any external id, by how an email begins, by a trait, or those who came last."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Connection, String, and_, func, literal_column, or_, select
from sqlalchemy import text as sql_text

from punchcard.store.engage.engage_tables import NOBODY
from punchcard.store.engage.profile_queries import StoredProfile, find_profile
from punchcard.store.engage.profiles import ids_of
from punchcard.store.engage.schema import (
    BEGIN_OF_VALUE,
    FOLDED_NAME,
    HAS_TRAIT,
    IS_NAME,
    VALUE_CHARACTERS_MAX,
    external_ids,
    profile_traits,
    profiles,
)

_EMAIL = "email"
_FIRST = (_EMAIL, "user_id")
_TYPES_MAX = 100


@dataclass(frozen=True, kw_only=True)
class FoundPerson:
    """A profile of a list.

    Attributes:
        ids: Type and value.
        since: When the profile was made, or when the trait that was asked for got its value.
        value: JSON of that trait, "" if none was asked for.
    """

    profile_id: int
    public_id: str
    ids: Sequence[tuple[str, str]]
    since: datetime
    value: str = ""


def named(work: Connection, text: str, *, limit: int) -> list[FoundPerson]:
    """Return profiles with exactly this external id or profile id, then those with an email that begins so."""
    profile_ids: dict[int, None] = {}
    profile = find_profile(work, "profile", text)
    if profile is not None:
        profile_ids[profile.id] = None
    values = list({text, text.lower()})
    exactly = select(external_ids.c.profile_id).where(
        external_ids.c.type.in_(types_of_ids(work)), external_ids.c.value.in_(values)
    )
    profile_ids.update(dict.fromkeys(sorted(set(work.scalars(exactly.limit(limit))))))
    begin = text.lower()
    begins = select(external_ids.c.profile_id).where(
        external_ids.c.type == _EMAIL, external_ids.c.value >= begin, external_ids.c.value < begin + "\U0010ffff"
    )
    profile_ids.update(dict.fromkeys(work.scalars(begins.order_by(external_ids.c.value).limit(limit))))
    return _people(work, list(profile_ids)[:limit])


def with_name(work: Connection, text: str, *, limit: int) -> list[FoundPerson]:
    """Return profiles with a name, first name or last name that begins with the text, in any case of its letters."""
    begin = json.dumps(text, ensure_ascii=False)[:-1].lower()[:VALUE_CHARACTERS_MAX]  # traits are JSON
    columns = profile_traits.c
    value: ColumnElement[str] = literal_column(FOLDED_NAME, String)
    query = (
        select(columns.profile_id)
        .where(sql_text(IS_NAME), value >= begin, value < begin + "\U0010ffff")
        .order_by(value, columns.profile_id)
        .limit(limit)
    )
    return _people(work, list(dict.fromkeys(work.scalars(query))))


def names_of(work: Connection, profile_ids: Sequence[int]) -> dict[int, str]:
    """Return the names of people by their traits, such as `Ann Bell`; who has none is left out."""
    columns = profile_traits.c
    query = select(columns.profile_id, columns.name, columns.value).where(
        columns.profile_id.in_(profile_ids), sql_text(IS_NAME)
    )
    names: dict[int, dict[str, str]] = {}
    for row in work.execute(query):
        value = json.loads(row.value)
        if isinstance(value, str) and value.strip():
            names.setdefault(row.profile_id, {})[row.name] = value.strip()
    return {profile_id: _full_name(parts) for profile_id, parts in names.items()}


def _full_name(parts: Mapping[str, str]) -> str:
    first = parts.get("firstName", parts.get("first_name", ""))
    last = parts.get("lastName", parts.get("last_name", ""))
    return parts.get("name") or f"{first} {last}".strip()


def find(work: Connection, text: str) -> StoredProfile | None:
    """The profile that this profile id or external id leads to; of several types an email or user id goes first."""
    types = types_of_ids(work)
    for type_ in (
        "profile",
        *(id_type for id_type in _FIRST if id_type in types),
        *(id_type for id_type in types if id_type not in _FIRST),
    ):
        profile = find_profile(work, type_, text)
        if profile is not None:
            return profile
    return None


def types_of_ids(work: Connection) -> list[str]:
    """The types of external ids that there are."""
    return _distinct(work, external_ids.c.type, limit=_TYPES_MAX)


def names_of_traits(work: Connection, *, limit: int) -> list[str]:
    """The first names of traits by alphabet, audiences among them."""
    return _distinct(work, profile_traits.c.name, limit=limit)


def values_of_trait(work: Connection, name: str, *, limit: int) -> list[str]:
    """The values, as JSON text, that some people have of a trait."""
    query = select(profile_traits.c.value).where(profile_traits.c.name == name, profile_traits.c.value != "null")
    return list(work.scalars(query.limit(limit)))


def newest(work: Connection, *, limit: int, before: int | None = None) -> list[FoundPerson]:
    """The profiles that were made last.

    Args:
        before: Only those with a lower number.
    """
    query = select(profiles.c.id).where(profiles.c.merged_into.is_(None))
    if before is not None:
        query = query.where(profiles.c.id < before)
    return _people(work, list(work.scalars(query.order_by(profiles.c.id.desc()).limit(limit))))


def with_trait(
    work: Connection, name: str, *, limit: int, values: Collection[str] = (), before: int | None = None
) -> list[FoundPerson]:
    """Everybody with a trait, members of an audience; the newest profiles first.

    Args:
        values: JSON texts: only with one of these values.
        before: Only profiles with a lower number.
    """
    columns = profile_traits.c
    chosen = select(columns.profile_id, columns.value, columns.updated_at).where(columns.name == name)
    if before is not None:
        chosen = chosen.where(columns.profile_id < before)
    queries = [chosen.where(_has_value(value)) for value in set(values)] or [chosen.where(HAS_TRAIT)]
    matches = (row for query in queries for row in work.execute(query.order_by(columns.profile_id.desc()).limit(limit)))
    rows = {row.profile_id: row for row in sorted(matches, key=lambda row: -row.profile_id)[:limit]}
    return [
        FoundPerson(
            profile_id=person.profile_id,
            public_id=person.public_id,
            ids=person.ids,
            since=rows[person.profile_id].updated_at,
            value=rows[person.profile_id].value,
        )
        for person in _people(work, list(rows))
    ]


def _has_value(value: str) -> ColumnElement[bool]:
    """Return the condition of `HAS_TRAIT` for one value, not in its words: another index has the profiles with it.

    The value is compared with a changed one: SQLite would put it in the place of the one that the index asks for.
    """
    columns = profile_traits.c
    begin: ColumnElement[str] = literal_column(BEGIN_OF_VALUE, String)
    return and_(
        begin == value[:VALUE_CHARACTERS_MAX],
        columns.value.concat("") == value,
        or_(columns.computation == "", columns.value.not_in(NOBODY)),
        columns.value != "null",
    )


def _people(work: Connection, profile_ids: Sequence[int]) -> list[FoundPerson]:
    """These profiles in this order."""
    ids = ids_of(work, profile_ids)
    query = select(profiles.c.id, profiles.c.public_id, profiles.c.created_at).where(profiles.c.id.in_(profile_ids))
    rows = {row.id: row for row in work.execute(query)}
    return [
        FoundPerson(
            profile_id=profile_id,
            public_id=rows[profile_id].public_id,
            ids=tuple(sorted(ids[profile_id])),
            since=rows[profile_id].created_at,
        )
        for profile_id in profile_ids
        if profile_id in rows
    ]


def _distinct(work: Connection, column: Column[str], *, limit: int) -> list[str]:
    """The first different values of a column that an index begins with, each found by the one before."""
    values: list[str] = []
    following = work.scalar(select(func.min(column)))
    while following is not None and len(values) < limit:
        values.append(following)
        following = work.scalar(select(func.min(column)).where(column > following))
    return values
