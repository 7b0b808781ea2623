"""The accounts at a partner that values were synced to: what one account has, another one has not.

Rows of synced values hold a digest of their account: "" for the first one that their destination named, to which
everything from before accounts were stored counts.
"""

import hashlib
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, insert, or_, select, update

from punchcard.store.delivery.queue import customers_of_open_calls
from punchcard.store.engage.schema import sync_accounts, synced

UNSYNCED: Final = ""
"""What stands for the value of a call that did not arrive."""

_DIGEST_CHARACTERS: Final = 8


def current_account(work: Connection, destination: str) -> tuple[str | None, str]:
    """Return the account that a destination is synced to, None before it was ever noted, and the digest of it."""
    row = work.execute(select(sync_accounts).where(sync_accounts.c.destination == destination)).first()
    return (None, "") if row is None else (row.current, row.digest)


def move_to_account(work: Connection, destination: str, account: str) -> str:
    """Note the account that the settings of a destination name now; returns the digest of it."""
    where = sync_accounts.c.destination == destination
    row = work.execute(select(sync_accounts).where(where)).first()
    if row is None:
        values = {"destination": destination, "first": account, "current": account, "digest": ""}
        work.execute(insert(sync_accounts).values(**values))
        return ""
    digest = "" if account == row.first else hashlib.sha256(account.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    work.execute(update(sync_accounts).where(where).values(current=account, digest=digest))
    return digest


def forget_unsure(work: Connection, destination: str, *, account: str, source: str, sent_since: datetime) -> None:
    """Mark as unsynced what an account perhaps never gets, as its destination names another one from now on.

    That is what still waits in delivery, and what other processes, which see changed settings earlier or later, may
    have sent to the other account.

    Args:
        account: The digest of the account.
        source: Of the calls: the destination's own.
        sent_since: Values that were sent later are marked.
    """
    waiting = customers_of_open_calls(destination, source=source)
    where = (synced.c.destination == destination, synced.c.account == account)
    is_unsure = or_(synced.c.sent_at >= sent_since, synced.c.email.in_(waiting))
    work.execute(update(synced).where(*where, is_unsure).values(value=UNSYNCED))


def current_digests(work: Connection) -> dict[str, str]:
    """Return the digest of the account that each destination is synced to; "" of those that are not in it."""
    return {row.destination: row.digest for row in work.execute(select(sync_accounts))}
