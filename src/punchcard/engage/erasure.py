"""Delete profiles for regulations, in the process that leads Engage: it alone writes profiles and facts."""

import msgspec
from sqlalchemy import Connection

from punchcard.engage.fact_store import FactStore
from punchcard.errors import ConfigurationError
from punchcard.profiles.erasure import ErasedIds
from punchcard.profiles.rules import ANONYMOUS_ID, EMAIL, USER_ID
from punchcard.store.engage.erasure import erase_profiles, with_merged
from punchcard.store.engage.profiles import owners_of
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import (
    Regulation,
    RegulationStatus,
    Step,
    unfinished_regulations,
    update_regulation,
)
from punchcard.workspace.subject_vault import SubjectVault

PROFILES = "profiles"
"""The stage of a deletion at which its profiles are deleted, so that nothing more is synced about them."""

PROFILES_AGAIN = "profiles_again"
"""The stage after the lake was cleared: what Engage has read meanwhile is deleted, and the facts are made again."""

_NEXT = {PROFILES: "records", PROFILES_AGAIN: "remaining"}


class ErasedIdentity(msgspec.Struct, frozen=True, rename="camel"):
    """What a running deletion knows of its subjects, encrypted in the store until it is finished.

    Attributes:
        effects: Ids of effects that are perhaps performed, or that forward the deletion: they are erased once they have
            ended.
        forwarded: By destination, those that forward it.
        conflicts: Log position and index of events of others that name a subject in their results.
    """

    ids: ErasedIds = msgspec.field(default_factory=ErasedIds)
    effects: tuple[int, ...] = ()
    forwarded: dict[str, tuple[int, ...]] = {}
    conflicts: tuple[tuple[int, int], ...] = ()


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


def erase_for_regulations(store: Store, facts: FactStore, vault: SubjectVault) -> bool:
    """Delete the profiles of the deletions that have come to that.

    Returns:
        True if the file of the facts must be made again, because it may still contain what was deleted.

    Raises:
        StorageError: Store or facts failed; call again.
    """
    with store.reading() as work:
        due = [regulation for regulation in unfinished_regulations(work) if regulation.stage in _NEXT]
    for regulation in due:
        try:
            identity = read_identity(vault, regulation)
        except ConfigurationError as error:
            with store.unit_of_work() as work:
                update_regulation(work, regulation, detail=error.message)
            continue
        _erase(store, facts, regulation, identity.ids)
    return any(regulation.stage == PROFILES_AGAIN for regulation in due)


def _erase(store: Store, facts: FactStore, regulation: Regulation, ids: ErasedIds) -> None:
    with store.unit_of_work() as work:
        profiles = _profiles_of(work, ids)
        # The facts first: if the store fails then, this is done again.
        with facts.unit_of_work():
            for table in ("facts", "traits", "people", "list_members"):
                facts.delete_people(table, profiles)
        deleted = erase_profiles(work, profiles, ids)
        existing = next((step.count for step in regulation.progress.stores if step.id == "profiles"), 0)
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
    owners = owners_of(work, {(type_, value) for type_, of_type in values for value in of_type})
    return with_merged(work, {*ids.profiles, *owners.values()})
