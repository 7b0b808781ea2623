"""What follows when the settings of a destination name another account: what the former one has, this one has not."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from punchcard.engage.telemetry import EngageTelemetry
from punchcard.store.engage import engage_tables
from punchcard.store.engage.sync_accounts import current_account, forget_unsure, move_to_account
from punchcard.store.engage.synced import enqueue_synced
from punchcard.workspace.computations import OWN_SOURCES

# Routing and delivery may see changed settings some seconds earlier or later, in other processes.
_SETTINGS_SPREAD: Final = timedelta(minutes=1)


def follow_account(work: Connection, destination: str, account: str, *, keys: Collection[str], now: datetime) -> None:
    """Note the account that a destination names; if it is another one than before, sync everybody to it.

    What an account has is remembered, so that only differences are sent if the former settings come back. An entry
    that a track call has brought to one account is brought to no other one, as an award is.

    Args:
        keys: The computations that are synced to the destination.
    """
    before, digest = current_account(work, destination)
    if before == account:
        return
    if before is not None:
        source, since = OWN_SOURCES + destination, now - _SETTINGS_SPREAD
        forget_unsure(work, destination, account=digest, source=source, sent_since=since)
    move_to_account(work, destination, account)
    if before is None:
        return
    for key in keys:
        engage_tables.enqueue_everybody(work, destination=destination, key=key, at=now)
        enqueue_synced(work, destination=destination, key=key, at=now)
    EngageTelemetry().account_changed(destination, before=before, account=account)
