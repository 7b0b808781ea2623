"""A proposed configuration of a destination: what a simulation plans under, in place of the one that is stored."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition, check_filter
from punchcard.workspace.document import secret_keys
from punchcard.workspace.editing import merge_settings
from punchcard.workspace.model import Destination, DestinationFilter
from punchcard.workspace.snapshot import RoutedDestination
from punchcard.workspace.validate import partner_problems


class ProposedFilter(msgspec.Struct):
    """A filter of a proposal, as the Public API and config files have it."""

    if_: str = msgspec.field(name="if")
    actions: list[dict[str, Any]] = msgspec.field(default_factory=lambda: [{"type": "DROP"}])
    title: str = "proposed filter"
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What differs from the stored configuration.

    Attributes:
        settings: By their keys; what is left out stays.
        options: Likewise.
        filters: All filters in order, None for those that are stored.
        sources: Slugs of the sources, None for those that are stored.
        is_whole: True if what is left out of settings and options has its default, secrets apart.
    """

    settings: Mapping[str, object]
    options: Mapping[str, object]
    filters: Sequence[ProposedFilter] | None = None
    sources: Sequence[str] | None = None
    is_whole: bool = False

    def document(self) -> dict[str, object]:
        """As JSON-able data."""
        return {
            "settings": dict(self.settings),
            "options": dict(self.options),
            "filters": None if self.filters is None else msgspec.to_builtins(self.filters),
            "sources": None if self.sources is None else list(self.sources),
            "isWhole": self.is_whole,
        }


def read_proposal(document: Mapping[str, Any]) -> Proposal:
    """Read back what `Proposal.document` has written.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        filters = document.get("filters")
        return Proposal(
            settings=document.get("settings") or {},
            options=document.get("options") or {},
            filters=None if filters is None else msgspec.convert(filters, list[ProposedFilter]),
            sources=document.get("sources"),
            is_whole=bool(document.get("isWhole")),
        )
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"The proposal cannot be read: {error}", field="filters") from error


def propose(
    current: RoutedDestination,
    *,
    settings: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
    filters: Sequence[ProposedFilter] | None = None,
    sources: Sequence[str] | None = None,
) -> Proposal:
    """A proposal without secrets: those that are stored are used, as no plan depends on them."""
    secret = secret_keys(current.destination)
    return Proposal(
        settings={key: value for key, value in (settings or {}).items() if ("settings", key) not in secret},
        options={key: value for key, value in (options or {}).items() if ("options", key) not in secret},
        filters=filters,
        sources=sources,
    )


def propose_destination(
    current: RoutedDestination, proposed: Destination, *, filters: Sequence[ProposedFilter]
) -> Proposal:
    """Another version of the destination as a whole, as of a config file."""
    proposal = propose(
        current, settings=proposed.settings, options=proposed.options, filters=filters, sources=proposed.sources
    )
    return replace(proposal, is_whole=True)


def proposed_filter(stored: DestinationFilter) -> ProposedFilter:
    """A configured filter as a part of a proposal."""
    return ProposedFilter(
        if_=stored.condition,
        actions=[dict(action) for action in stored.actions],
        title=stored.title,
        enabled=stored.enabled,
    )


def compile_proposal(current: RoutedDestination, proposal: Proposal) -> RoutedDestination:
    """The destination under the proposed configuration.

    Raises:
        ConfigurationError: it is not valid; the message says what is wrong.
    """
    stored = current.destination
    secret = secret_keys(stored)
    settings = merge_settings(_base(stored.settings, "settings", secret, proposal), proposal.settings)
    options = merge_settings(_base(stored.options, "options", secret, proposal), proposal.options)
    sources = stored.sources if proposal.sources is None else tuple(proposal.sources)
    filters = current.filters if proposal.filters is None else _compile_filters(proposal.filters)
    try:
        typed = current.partner.read_settings(settings, options)
    except ConfigurationError as error:
        problems = tuple(partner_problems(("destinations", stored.slug), error))
        raise ConfigurationError(error.message, problems=problems) from error
    return replace(
        current,
        settings=typed,
        supported=current.partner.supported_calls(typed),
        filters=filters,
        invalid=None if proposal.filters is not None or current.filters else current.invalid,
        destination=replace(stored, settings=settings, options=options, sources=sources, enabled=True),
    )


def _base(
    values: Mapping[str, object], section: str, secret: Collection[tuple[str, str]], proposal: Proposal
) -> Mapping[str, object]:
    """What stays of stored values where the proposal says nothing."""
    return {key: value for key, value in values.items() if not proposal.is_whole or (section, key) in secret}


def _compile_filters(filters: Sequence[ProposedFilter]) -> DestinationFilters:
    definitions = [
        FilterDefinition(
            title=proposed_filter_item.title,
            condition=proposed_filter_item.if_,
            actions=tuple(proposed_filter_item.actions),
        )
        for proposed_filter_item in filters
        if proposed_filter_item.enabled
    ]
    for number, definition in enumerate(definitions):
        try:
            check_filter(definition)
        except ConfigurationError as error:
            raise ConfigurationError(
                f'filter "{definition.title}": {error.message}', code=error.code, field=f"filters[{number}]"
            ) from error
    return DestinationFilters(definitions)
