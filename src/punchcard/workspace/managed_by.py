"""Managed sources and destinations: created for callers of the partner endpoint, who send their settings along.

There is one pair for each account at the partner, so that its ledger continues when other settings change.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from punchcard.clock import Clock
from punchcard.destinations.definition import Definition, FieldType
from punchcard.errors import ConfigurationError
from punchcard.store.engine import Store
from punchcard.workspace.apply import edit
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, Source, Workspace

_PLAIN = re.compile(r"[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,2}")
_WRITE_KEY_BYTES = 24


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account at a partner.

    Attributes:
        type: Slug of the destination definition.
        prefix: Begin of the identifiers of its source and destination.
        ids: Values that identify the account, such as business and location.
    """

    type: str
    prefix: str
    ids: tuple[str, ...]

    @property
    def slug(self) -> str:
        """Slug of its source and its destination."""
        text = "-".join(self.ids)
        if not _PLAIN.fullmatch(text):
            text = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()[:20]
        return f"{self.prefix}-{text}"


def derive_account(definition: Definition, settings: Mapping[str, object]) -> Account:
    """Return the account that the settings identify: by all required texts that are not secrets."""
    keys = [
        setting.key
        for setting in definition.settings
        if setting.type is FieldType.STRING and setting.required and not setting.secret
    ]
    return Account(
        type=definition.slug,
        prefix=definition.managed_prefix or f"partner-{definition.slug}",
        ids=tuple(str(settings.get(key, "")).strip() for key in keys),
    )


def inherit_options(destinations: Iterable[Destination], account: Account) -> dict[str, object]:
    """Return the options of the account's destination, or of the first destination of its type if there is none."""
    same_type = sorted(
        (destination for destination in destinations if destination.type == account.type),
        key=lambda destination: destination.slug,
    )
    for destination in same_type:
        if destination.slug == account.slug:
            return dict(destination.options)
    # `oncePerDay` lists event names, and this account may use other names.
    return {key: value for key, value in same_type[0].options.items() if key != "oncePerDay"} if same_type else {}


def save_managed_destination(
    store: Store, account: Account, settings: Mapping[str, object], *, clock: Clock, keyring: Keyring
) -> None:
    """Save the settings of the account's destination, which is created if it does not exist.

    Maps are merged: entries of other senders of the same account are kept, because each event is processed with the
    settings that it came with. A new destination gets the options of the first destination of its type, such as
    another address of the partner.

    Raises:
        ConfigurationError: The settings are not valid, or the configuration uses the account's slug otherwise.
        StorageError: The store cannot be written.
    """

    def change(workspace: Workspace) -> Workspace:
        slug = account.slug
        source = next((source for source in workspace.sources if source.slug == slug), None)
        current = next((destination for destination in workspace.destinations if destination.slug == slug), None)
        if any(existing is not None and not existing.is_managed for existing in (source, current)):
            raise ConfigurationError(
                f"The configuration has its own source or destination {slug}, a slug that the partner endpoint needs. "
                "Choose another slug for it."
            )
        if source is None:
            name = f"Segment's cloud for {account.type} {', '.join(account.ids)}"
            source = Source(
                slug=slug, name=name, write_keys=(secrets.token_urlsafe(_WRITE_KEY_BYTES),), is_managed=True
            )
        destination = Destination(
            slug=slug,
            type=account.type,
            sources=(slug,),
            settings=_merge_maps({} if current is None else current.settings, settings),
            options=inherit_options(workspace.destinations, account),
            is_managed=True,
        )
        return replace(
            workspace,
            sources=(*(source for source in workspace.sources if source.slug != slug), source),
            destinations=(
                *(destination for destination in workspace.destinations if destination.slug != slug),
                destination,
            ),
        )

    edit(store, change, clock=clock, keyring=keyring, actor="partner endpoint")


def _merge_maps(current: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    merged = {**current, **changes}
    for key, value in changes.items():
        current_value = current.get(key)
        if isinstance(value, Mapping) and isinstance(current_value, Mapping):
            merged[key] = {**current_value, **value}
    return merged
