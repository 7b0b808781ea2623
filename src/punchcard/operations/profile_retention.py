"""Deletes profiles that were not seen for their period, in the process that leads Engage: it alone writes profiles."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from punchcard.clock import Clock
from punchcard.engage.facts import Facts
from punchcard.operations.retention import PROFILES, days_of
from punchcard.store.engage.erasure import erase_profiles, with_merged
from punchcard.store.engage.retention import find_old_profiles
from punchcard.store.engine import Store
from punchcard.store.privacy.retention import record_deletion

_PROFILES_PER_LOOK: Final = 20_000
_PROFILES_AT_ONCE: Final = 200


def delete_old_profiles(
    store: Store,
    facts: Facts,
    defaults: Mapping[str, int],
    *,
    clock: Clock,
    is_stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Delete the profiles that are older than their period, in small portions, each in its own unit of work.

    Args:
        defaults: Days by setting.

    Returns:
        True if everything must be computed again: audiences have lost members.

    Raises:
        StorageError: Store or facts are unavailable; what was deleted before stays deleted.
    """
    with store.reading() as work:
        days = days_of(work, PROFILES, defaults)
    if not days:
        return False
    before = clock.now() - timedelta(days=days)
    after: int | None = 0
    deleted = False
    while after is not None and not is_stopping():
        with store.reading() as work:
            old, after = find_old_profiles(work, before=before, after=after, limit=_PROFILES_PER_LOOK)
        for begin in range(0, len(old), _PROFILES_AT_ONCE):
            deleted = True
            _delete(store, facts, old[begin : begin + _PROFILES_AT_ONCE], clock=clock)
            if is_stopping():
                break
    return deleted


def _delete(store: Store, facts: Facts, profiles: list[int], *, clock: Clock) -> None:
    with store.reading() as work:
        members = with_merged(work, profiles)
    # The facts first: if the store fails then, the profiles are found again.
    with facts.unit_of_work():
        facts.save_meta(replace(facts.meta(), computed_at=0))
        for table in ("facts", "traits", "people", "list_members"):
            facts.delete_people(table, members)
    with store.unit_of_work() as work:
        erase_profiles(work, members)
        record_deletion(work, PROFILES, deleted=len(profiles), cursor=None, now=clock.now())
