"""Parts of a workspace as plain data, with their secrets masked, sealed or in plain text."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from punchcard.destinations.catalog import CATALOG, DestinationCatalog
from punchcard.destinations.port import Partner
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.workspace.keyring import Keyring, mask
from punchcard.workspace.model import (
    AlertChannel,
    AlertRule,
    Computation,
    Destination,
    Source,
    Transformation,
    Workspace,
)

Catalog = Mapping[str, Partner]
"""Partners by the slug of their definition."""


ConfigurationPart = (
    Workspace | Source | Destination | Computation | Transformation | AlertChannel | AlertRule | TrackingPlan
)
"""What is stored as one document."""


def find_load_problem(catalog: Catalog, type_: str) -> str | None:
    """Return why the package of a destination type could not be loaded, None if it was loaded or does not exist."""
    return catalog.problems.get(type_) if isinstance(catalog, DestinationCatalog) else None


_SEALED_KEY = "$sealed"  # no setting is an object with such a key, so a sealed value cannot be mistaken


def to_plain(part: ConfigurationPart) -> dict[str, object]:
    """Return the part as data that JSON can express."""
    return msgspec.to_builtins(part)  # type: ignore[no-any-return]


def mask_secrets(destination: Destination, *, catalog: Catalog = CATALOG) -> Destination:
    """Return the destination with its secrets masked."""
    return _map_secrets(destination, catalog, _mask_value)


def mask_all_write_keys(workspace: Workspace) -> Workspace:
    """Return the workspace for viewers: with masked write keys, so that they cannot send events."""
    return replace(workspace, sources=tuple(map(mask_source, workspace.sources)))


def mask_source(source: Source) -> Source:
    """Return the source with its write keys masked."""
    return replace(source, write_keys=tuple(map(mask, source.write_keys)))


def seal(destination: Destination, keyring: Keyring, *, catalog: Catalog = CATALOG) -> Destination:
    """Return the destination as it is stored: with encrypted secrets."""
    return _map_secrets(
        destination,
        catalog,
        lambda value: {_SEALED_KEY: keyring.encrypt(value)} if isinstance(value, str) and value else value,
    )


def unseal(destination: Destination, keyring: Keyring) -> Destination:
    """Return the destination with every encrypted value in plain text.

    Raises:
        ConfigurationError: The secrets were encrypted with another key.
    """
    return replace(
        destination,
        settings=_unseal_values(destination.settings, keyring),
        options=_unseal_values(destination.options, keyring),
    )


def sealed_token(value: object) -> str | None:
    """Return the encrypted text of a sealed value, None for any other value."""
    if isinstance(value, Mapping) and value.keys() == {_SEALED_KEY}:
        token = value[_SEALED_KEY]
        return token if isinstance(token, str) else None
    return None


def has_sealed_values(destination: Destination) -> bool:
    """Return True if a value of the destination is sealed."""
    values = [*destination.settings.values(), *destination.options.values()]
    inner = [item for value in values if isinstance(value, Mapping) for item in value.values()]
    return any(sealed_token(value) is not None for value in (*values, *inner))


def secret_keys(destination: Destination, *, catalog: Catalog = CATALOG) -> frozenset[tuple[str, str]]:
    """Return the keys of secrets, as pairs of `settings` or `options` and a key."""
    partner = catalog.get(destination.type)
    if partner is None:
        # The definition is unknown, so every text counts as a secret.
        return frozenset(("settings", key) for key, value in destination.settings.items() if isinstance(value, str))
    return frozenset(
        [("settings", field.key) for field in partner.definition.settings if field.secret]
        + [("options", field.key) for field in partner.definition.options if field.secret]
    )


def settings_fingerprint(destination: Destination, keyring: Keyring) -> str:
    """Return a text that changes with settings, secrets and options. A change ends a destination's pause."""
    return keyring.fingerprint(
        msgspec.json.encode([destination.type, destination.settings, destination.options], order="sorted")
    )


def _map_secrets(destination: Destination, catalog: Catalog, change: Callable[[object], object]) -> Destination:
    keys = secret_keys(destination, catalog=catalog)

    def changed(section: str, values: Mapping[str, object]) -> dict[str, object]:
        return {key: _map_secret(value, change) if (section, key) in keys else value for key, value in values.items()}

    return replace(
        destination,
        settings=changed("settings", destination.settings),
        options=changed("options", destination.options),
    )


def _mask_value(value: object) -> object:
    if value in ("", {}):
        return value  # nothing is set
    return mask(value if isinstance(value, str) else "")


def _map_secret(value: object, change: Callable[[object], object]) -> object:
    """Return the changed secret. In a map, each value is a secret."""
    if isinstance(value, Mapping) and value and sealed_token(value) is None:
        return {name: change(item) for name, item in value.items()}
    return change(value)


def _unseal_values(values: Mapping[str, object], keyring: Keyring) -> dict[str, object]:
    return {key: _unseal_value(value, keyring) for key, value in values.items()}


def _unseal_value(value: object, keyring: Keyring) -> object:
    token = sealed_token(value)
    if token is not None:
        return keyring.decrypt(token)
    if isinstance(value, Mapping) and any(sealed_token(item) is not None for item in value.values()):
        return {name: _unseal_value(item, keyring) for name, item in value.items()}
    return value
