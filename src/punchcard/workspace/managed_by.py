"""Sources and destinations that Punchcard keeps for callers of the partner endpoint, who bring their settings along.

One pair for each account at the partner, so that its ledger goes on whatever the other settings become.
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
    """One account at a partner.

    Attributes:
        type: Slug of the destination definition.
        ids: What names the account, such as business and location.
    """

    type: str
    ids: tuple[str, ...]

    @property
    def slug(self) -> str:
        """The word of its source and its destination."""
        text = "-".join(self.ids)
        if not _PLAIN.fullmatch(text):
            text = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()[:20]
        return f"partner-{text}" if self.type == "perkville" else f"partner-{self.type}-{text}"


def derive_account(definition: Definition, settings: Mapping[str, object]) -> Account:
    """The account that settings name: by all of them that are required text and no secret."""
    keys = [
        setting.key
        for setting in definition.settings
        if setting.type is FieldType.STRING and setting.required and not setting.secret
    ]
    return Account(type=definition.slug, ids=tuple(str(settings.get(key, "")).strip() for key in keys))


def inherit_options(destinations: Iterable[Destination], account: Account) -> dict[str, object]:
    """The options of the account's destination; before there is one, those of the first of its type."""
    alike = sorted(
        (destination for destination in destinations if destination.type == account.type),
        key=lambda destination: destination.slug,
    )
    for one in alike:
        if one.slug == account.slug:
            return dict(one.options)
    # Which events are given once a day is said by their names, and this account may name others.
    return {key: value for key, value in alike[0].options.items() if key != "oncePerDay"} if alike else {}


def save_managed_destination(
    store: Store, account: Account, settings: Mapping[str, object], *, clock: Clock, keyring: Keyring
) -> None:
    """Make these the settings of the account's destination, which is made if there is none.

    Maps grow: what another sender of the same account has mapped stays mapped, as each event is judged by its own.
    A new destination gets the options of the first one of its type, such as another address of the partner.

    Raises:
        ConfigurationError: the settings are not valid, or the config file names the account's slug itself.
        StorageError: the store cannot be written.
    """

    def change(workspace: Workspace) -> Workspace:
        slug = account.slug
        source = next((source for source in workspace.sources if source.slug == slug), None)
        standing = next((destination for destination in workspace.destinations if destination.slug == slug), None)
        if any(one is not None and not one.is_managed for one in (source, standing)):
            raise ConfigurationError(
                f"the configuration has a {slug} of its own, so the partner endpoint cannot keep one by that name"
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
            settings=_merge_maps({} if standing is None else standing.settings, settings),
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


def _merge_maps(standing: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    grown = {**standing, **given}
    for key, value in given.items():
        before = standing.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            grown[key] = {**before, **value}
    return grown
