"""Find what the ledger has of subjects by the hashes of their ids, when their events are gone already.

That is so after the restore of a database that is older than a deletion, and for events that the lake has deleted
after their retention period.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from punchcard.profiles.erasure import ErasedIds
from punchcard.profiles.rules import EMAIL
from punchcard.store.delivery.effect_subjects import SubjectEffect, effects_by_digest
from punchcard.store.delivery.erasure import Message, find_effects
from punchcard.store.engage.profiles import owners_of
from punchcard.store.privacy.regulations import SubjectType
from punchcard.workspace.subject_vault import SubjectVault, is_deleted

_EMAILS_OF_USER_MAX: Final = 5  # as many as a profile has by the default rules of identity


@dataclass(frozen=True, kw_only=True)
class LedgerMatches:
    """What the ledger has of subjects.

    Attributes:
        effects: Ids of the effects of their events.
        emails: The customers of these effects, as far as they are surely the subjects and lead to no profile.
    """

    effects: frozenset[int] = frozenset()
    emails: frozenset[str] = frozenset()


def find_in_ledger(work: Connection, vault: SubjectVault, ids: ErasedIds) -> LedgerMatches:
    """Return the effects of events with a user id or anonymous id of a subject, and the emails that these show.

    An effect of another person on a shared device is not among them: it belongs to its email. The email of a device is
    the subject's only if all effects of the device have it, and those of a user id if they are few: that of a cashier
    is beside the emails of many customers.
    """
    hashes = vault.open_effects(work)
    if hashes is None:
        return LedgerMatches()
    of_users = effects_by_digest(work, [hashes.digest(SubjectType.USER_ID, value) for value in ids.user_ids])
    of_devices = effects_by_digest(
        work, [hashes.digest(SubjectType.ANONYMOUS_ID, value) for value in ids.anonymous_ids]
    )
    own = {effect for effects in of_users.values() for effect in effects}
    by_device = [set(effects) - own for effects in of_devices.values()]
    owners = owners_of(work, {(EMAIL, email) for effects in (own, *by_device) for email in _customers(effects)})
    foreign = {email for (_, email), owner in owners.items() if owner not in ids.profiles} - ids.emails
    on_devices = [{effect for effect in effects if effect.customer not in foreign} for effects in by_device]
    emails: set[str] = set()
    for emails_max, groups in ((_EMAILS_OF_USER_MAX, of_users.values()), (1, on_devices)):
        for effects in groups:
            customers = _customers(effects)
            emails |= customers if len(customers) <= emails_max else set()
    return LedgerMatches(
        effects=frozenset(effect.id for effects in (own, *on_devices) for effect in effects),
        emails=frozenset(email for email in emails if (EMAIL, email) not in owners),
    )


def find_subject_effects(
    work: Connection, vault: SubjectVault, ids: ErasedIds, messages: Collection[Message]
) -> set[int]:
    """Return the ids of the effects of subjects: by email, by their events, and by the hashes of their ids."""
    return find_effects(work, ids.emails, messages) | find_in_ledger(work, vault, ids).effects


def _customers(effects: Collection[SubjectEffect]) -> set[str]:
    return {effect.customer for effect in effects if effect.customer and not is_deleted(effect.customer)}
