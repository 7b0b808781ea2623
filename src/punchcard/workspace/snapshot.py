"""The configuration compiled for the loops, and a watch that keeps it fresh without asking the store each time."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from zoneinfo import ZoneInfo

from punchcard.clock import Clock
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition
from punchcard.destinations.port import DeliveryOptions, Effect, Intent, Partner, PartnerClient
from punchcard.errors import ConfigurationError, StorageError
from punchcard.events.model import Event, EventType
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition
from punchcard.profiles.rules import IdentityRules
from punchcard.store import configuration
from punchcard.store.engine import Store
from punchcard.workspace import stored
from punchcard.workspace.computations import OWN_SOURCES, ReadyComputation, ready
from punchcard.workspace.document import Catalog, settings_fingerprint
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Computation, Destination, Source
from punchcard.workspace.stored import Stored
from punchcard.workspace.telemetry import WorkspaceTelemetry


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutedDestination:
    """A destination ready for use.

    Attributes:
        name: Its key in the `integrations` object.
        settings: The partner's typed settings, None if they are invalid.
        supported: The calls it takes.
        fingerprint: Changes whenever settings, secrets or options do.
        destination: As configured; disabled ones are here too.
        invalid: Why its stored settings cannot be used by this version, else None: then its events end as
            INVALID_SETTINGS and its outbox waits.
        filters: Its filters that are enabled, compiled.
    """

    slug: str
    name: str
    partner: Partner
    settings: object
    supported: frozenset[EventType]
    fingerprint: str
    destination: Destination
    invalid: str | None = None
    filters: DestinationFilters = field(default_factory=lambda: DestinationFilters(()))


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceRoute:
    """A source and where its events go: all its destinations, disabled ones too, in order of their slugs."""

    source: Source
    destinations: tuple[RoutedDestination, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """The whole configuration at one revision.

    Attributes:
        by_write_key: Every write key, those of disabled sources too.
        destinations: By slug.
        known_names: Names that mean a destination in the `integrations` object.
        routes: As `by_write_key`, with the ways by which audiences and computed traits are told among them.
        computations: Audiences and computed traits by key, those that are switched off too.
        identity: How profiles are told apart.
        own_write_keys: By destination, the write key under which audiences and computed traits are told to it.
    """

    revision: int
    zone: ZoneInfo
    by_write_key: Mapping[str, SourceRoute]
    destinations: Mapping[str, RoutedDestination]
    known_names: frozenset[str]
    routes: Mapping[str, SourceRoute] = field(default_factory=dict)
    computations: Mapping[str, ReadyComputation] = field(default_factory=dict)
    own_write_keys: Mapping[str, str] = field(default_factory=dict)
    identity: IdentityRules = field(default_factory=IdentityRules)


def compile_snapshot(standing: Stored, *, keyring: Keyring, catalog: Catalog = CATALOG) -> Snapshot:
    """The configuration in the form that the loops use."""
    workspace = standing.workspace
    destinations = {one.slug: _routed(one, keyring, catalog) for one in workspace.destinations}
    routes = [
        SourceRoute(
            source=source,
            destinations=tuple(one for one in destinations.values() if source.slug in one.destination.sources),
        )
        for source in workspace.sources
    ]
    own = {one.slug: _own_route(one, keyring) for one in destinations.values()}
    return Snapshot(
        revision=standing.revision,
        zone=workspace.zone(),
        identity=workspace.identity,
        by_write_key=MappingProxyType({key: route for route in routes for key in route.source.write_keys}),
        routes=MappingProxyType({key: route for route in (*routes, *own.values()) for key in route.source.write_keys}),
        destinations=MappingProxyType(destinations),
        known_names=frozenset(partner.definition.name for partner in catalog.values()),
        computations=MappingProxyType(dict(_ready(workspace.computations))),
        own_write_keys=MappingProxyType({slug: route.source.write_keys[0] for slug, route in own.items()}),
    )


def _own_route(destination: RoutedDestination, keyring: Keyring) -> SourceRoute:
    """The way of what audiences and computed traits tell one destination: as a source of its own, and no other's."""
    slug = f"{OWN_SOURCES}{destination.slug}"
    # Nobody outside knows the key, so nobody else can say that a person has entered an audience.
    write_key = f"{OWN_SOURCES}{keyring.fingerprint(slug.encode())}"
    source = Source(slug=slug, name=f"Audiences and traits for {destination.slug}", write_keys=(write_key,))
    return SourceRoute(source=source, destinations=(destination,))


def _ready(computations: Iterable[Computation]) -> Iterator[tuple[str, ReadyComputation]]:
    for one in computations:
        # What an older version took and this one cannot read is left out; `check` and its page say why.
        with suppress(ConfigurationError):
            yield one.key, ready(one)


class SnapshotWatch:
    """The newest snapshot, asking the store for its revision now and then. Safe to use from several threads.

    Args:
        interval_seconds: The store is asked at most this often.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        *,
        clock: Clock,
        interval_seconds: float = 1.0,
        catalog: Catalog = CATALOG,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._catalog = catalog
        self._telemetry = WorkspaceTelemetry()
        self._refreshing = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._due_at = 0.0
        self._complaint: str | None = None
        self._invalid: Mapping[str, str] = {}

    def current(self) -> Snapshot:
        """The newest snapshot that could be read; nearly free while no question to the store is due.

        Raises:
            ConfigurationError: there is no good snapshot yet, and the stored configuration cannot be read.
            StorageError: there is no good snapshot yet, and the store is away.
        """
        snapshot = self._snapshot
        if snapshot is None:
            with self._refreshing:
                return self._snapshot or self._refresh(None)
        if self._clock.monotonic() < self._due_at or not self._refreshing.acquire(blocking=False):
            return snapshot
        try:
            return self._kept_fresh(self._snapshot or snapshot)
        finally:
            self._refreshing.release()

    def newest(self) -> Snapshot:
        """The snapshot of what stands in the store now, the last good one while that cannot be read.

        For routing: who has saved a change and sends an event then, has it judged by that change.

        Raises:
            ConfigurationError: there is no good snapshot yet, and the stored configuration cannot be read.
            StorageError: there is no good snapshot yet, and the store is away.
        """
        with self._refreshing:
            return self._refresh(None) if self._snapshot is None else self._kept_fresh(self._snapshot)

    def refresh(self) -> Snapshot:
        """The snapshot of what stands in the store now, for a caller that has just changed it.

        Raises:
            ConfigurationError: the stored configuration cannot be read.
            StorageError: the store is away.
        """
        with self._refreshing:
            return self._refresh(self._snapshot)

    def _kept_fresh(self, last_good: Snapshot) -> Snapshot:
        try:
            snapshot = self._refresh(last_good)
        except (ConfigurationError, StorageError) as error:
            self._due_at = self._clock.monotonic() + self._interval_seconds
            if self._complaint is None:
                self._telemetry.configuration_reload_failed(reason=error.message)
            self._complaint = error.message
            return last_good
        if self._complaint is not None:
            self._complaint = None
            self._telemetry.configuration_reload_recovered(revision=snapshot.revision)
        return snapshot

    def _refresh(self, last: Snapshot | None) -> Snapshot:
        with self._store.reading() as work:
            revision = configuration.revision_of(work)
        if last is None or revision != last.revision:
            last = compile_snapshot(
                stored.load(self._store, self._keyring), keyring=self._keyring, catalog=self._catalog
            )
            self._tell_invalid(last.destinations.values())
        self._snapshot = last
        self._due_at = self._clock.monotonic() + self._interval_seconds
        return last

    def _tell_invalid(self, destinations: Iterable[RoutedDestination]) -> None:
        invalid = {one.slug: one.invalid for one in destinations if one.invalid is not None}
        for slug, detail in invalid.items():
            if self._invalid.get(slug) != detail:
                self._telemetry.destination_invalidated(destination=slug, detail=detail)
        self._invalid = invalid


def _routed(destination: Destination, keyring: Keyring, catalog: Catalog) -> RoutedDestination:
    partner = catalog.get(destination.type) or _MissingPartner(destination.type)
    settings, invalid = None, None
    filters = DestinationFilters(())
    try:
        settings = partner.read_settings(destination.settings, destination.options)
        filters = DestinationFilters(
            [
                FilterDefinition(title=one.title, condition=one.condition, actions=one.actions)
                for one in destination.filters
                if one.enabled
            ]
        )
    except ConfigurationError as error:
        invalid = "; ".join(error.message.splitlines())
    return RoutedDestination(
        slug=destination.slug,
        name=partner.definition.name,
        partner=partner,
        settings=settings,
        supported=partner.definition.supported,
        fingerprint=settings_fingerprint(destination, keyring),
        destination=destination,
        invalid=invalid,
        filters=filters,
    )


class _MissingPartner:
    """Stands for a type that the catalog no longer has, so that one such destination does not stop the others."""

    def __init__(self, type_: str) -> None:
        self._reason = f'there is no destination of type "{type_}" in this version'
        self.definition = Definition(
            id="",
            slug=type_,
            name=type_,
            description=self._reason,
            website="",
            categories=(),
            supported=frozenset(EventType),
            settings=(),
            options=(),
        )

    def read_settings(self, settings: Mapping[str, object], options: Mapping[str, object]) -> object:
        raise ConfigurationError(self._reason)

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        raise ConfigurationError(self._reason)

    def remap(self, event_name: str, settings: object) -> str | None:
        raise ConfigurationError(self._reason)

    def delivery_options(self, settings: object) -> DeliveryOptions:
        raise ConfigurationError(self._reason)

    def preview(self, effect: Effect, settings: object) -> Mapping[str, object]:
        raise ConfigurationError(self._reason)

    def client(self, settings: object) -> PartnerClient:
        raise ConfigurationError(self._reason)
