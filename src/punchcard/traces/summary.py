"""How an effect is summarised: the columns that its destination declares, under the destination's own names."""

from collections.abc import Mapping
from typing import Final

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition, LedgerColumn, SummaryColumn, default_column

NO_TYPES: Final[Mapping[str, str]] = {}


def definition_of(destination: str, kind: str, *, types: Mapping[str, str] = NO_TYPES) -> Definition | None:
    """Return the definition by which an effect was made, None if it is not known.

    A destination that is no longer configured has no type: then the first definition counts that declares the kind.

    Args:
        destination: Slug of the configured destination.
        kind: Of the effect.
        types: The type of each configured destination by its slug.
    """
    type_ = types.get(destination)
    partner = None if type_ is None else CATALOG.get(type_)
    if partner is not None:
        return partner.definition
    definitions = (loaded.definition for loaded in CATALOG.loaded())
    return next((each for each in definitions if any(declared.name == kind for declared in each.kinds)), None)


def summary_columns(destination: str, kind: str, *, types: Mapping[str, str] = NO_TYPES) -> tuple[SummaryColumn, ...]:
    """Return what is shown of an effect beside its key and customer; nothing if its definition is not known."""
    definition = definition_of(destination, kind, types=types)
    return () if definition is None else definition.summary_columns


def item_column(destination: str, *, types: Mapping[str, str] = NO_TYPES) -> SummaryColumn:
    """Return what a destination calls the items of its effects.

    A destination that is no longer configured has no type: then the first definition counts that has items.

    Args:
        destination: Slug of the configured destination.
        types: The type of each configured destination by its slug.
    """
    type_ = types.get(destination)
    partner = None if type_ is None else CATALOG.get(type_)
    if partner is None:
        partner = next((loaded for loaded in CATALOG.loaded() if loaded.definition.item_kind is not None), None)
    own = LedgerColumn.ITEM
    return default_column(own) if partner is None else partner.definition.summary_column(own)


def kind_label(destination: str, kind: str, *, types: Mapping[str, str] = NO_TYPES) -> str:
    """Return the name of a kind of effect for people."""
    definition = definition_of(destination, kind, types=types)
    labels = {} if definition is None else {declared.name: declared.label for declared in definition.kinds}
    return labels.get(kind, kind)
