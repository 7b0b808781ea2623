"""Warnings about queued awards of an account that the changed settings of their destination do not name any more."""

from collections.abc import Mapping, Sequence

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.port import account_of
from punchcard.errors import ConfigurationError
from punchcard.store.delivery.accounts import is_first_account
from punchcard.store.delivery.queue import count_open_awards
from punchcard.store.engine import Store
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.model import Destination, Workspace

_ANY_SECRET = "secret"  # stored ones may be encrypted, and no account depends on them


def warn_of_moved_accounts(
    before: Workspace, after: Workspace, *, store: Store, names: Mapping[str, str]
) -> Sequence[str]:
    """Return a warning for each destination that names another account now, if awards for the former one are queued.

    Args:
        names: Of the destinations, by slug.
    """
    former = {destination.slug: destination for destination in before.destinations}
    warnings = []
    for destination in after.destinations:
        old, new = _account(former.get(destination.slug)), _account(destination)
        if old is None or new is None or old == new:
            continue
        with store.reading() as work:
            count = count_open_awards(work, destination.slug, source=OWN_SOURCES + destination.slug)
            is_kept = count > 0 and not is_first_account(work, destination.slug, old)
        if is_kept:
            shown = "1 queued award is" if count == 1 else f"{count:,} queued awards are"
            warnings.append(
                f"{names[destination.slug]}: {shown} for {old}, and the settings name {new} now. Such awards are "
                "parked with the reason other_account until you retry them."
            )
    return warnings


def _account(destination: Destination | None) -> str | None:
    partner = None if destination is None else CATALOG.get(destination.type)
    if destination is None or partner is None:
        return None
    secrets = {field.key: _ANY_SECRET for field in partner.definition.settings if field.secret}
    try:
        settings = partner.read_settings({**destination.settings, **secrets}, destination.options)
    except ConfigurationError:
        return None
    return account_of(partner, settings, None)
