"""The destinations that Engage syncs to."""

from dataclasses import dataclass

from punchcard.destinations.port import account_of
from punchcard.workspace.snapshot import Snapshot

_REQUESTS_PER_CALL = 2  # the person's connection is looked up, then changed


@dataclass(frozen=True, kw_only=True)
class SyncTarget:
    """A destination that is synced.

    Attributes:
        name: The destination's key in the `integrations` object.
        write_key: Write key under which its calls enter the log.
        calls_per_second: Rate that its partner accepts.
        account: The account that its settings name, None without accounts.
    """

    slug: str
    name: str
    write_key: str
    calls_per_second: float
    account: str | None = None


def sync_targets(snapshot: Snapshot) -> list[SyncTarget]:
    """Return the destinations that can be synced."""
    targets: list[SyncTarget] = []
    for slug, destination in snapshot.destinations.items():
        if destination.invalid is not None or not destination.destination.enabled:
            continue
        options = destination.partner.delivery_options(destination.settings)
        targets.append(
            SyncTarget(
                slug=slug,
                name=destination.name,
                write_key=snapshot.own_write_keys[slug],
                calls_per_second=options.requests_per_second / _REQUESTS_PER_CALL,
                account=account_of(destination.partner, destination.settings, None),
            )
        )
    return targets
