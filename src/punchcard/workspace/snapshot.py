"""The compiled configuration, and a watch that keeps it up to date without reading the store each time."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from punchcard.clock import Clock
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import Partner
from punchcard.errors import ConfigurationError, PunchcardError, StorageError
from punchcard.events.model import EventType
from punchcard.filters.destination_filters import DestinationFilters
from punchcard.filters.transformations import Transformations
from punchcard.profiles.rules import IdentityRules
from punchcard.store.engine import Store
from punchcard.store.workspace import configuration
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.tracking_plans.validation import CompiledPlan
from punchcard.workspace import persistence
from punchcard.workspace.alert_rules import DEFAULT_RULES, AlertKind, EffectiveRule, effective_rules
from punchcard.workspace.compiled_parts import (
    built_in_names,
    compile_controls,
    compile_filters,
    read_network,
    read_zone,
    readable_channels,
)
from punchcard.workspace.computations import COMPUTATION_KINDS, ReadyComputation, compile_computations, own_source
from punchcard.workspace.controlled_properties import ControlledProperties
from punchcard.workspace.document import Catalog, find_load_problem, settings_fingerprint
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.missing_partner import MissingPartner
from punchcard.workspace.model import AlertChannel, Destination, Source
from punchcard.workspace.part_names import name_parts
from punchcard.workspace.persistence import PartKey, StoredWorkspace, parts_by_key
from punchcard.workspace.point_costs import PointCost, read_point_cost
from punchcard.workspace.problems import format_error
from punchcard.workspace.telemetry import WorkspaceTelemetry
from punchcard.workspace.tracking_plans import compile_plans
from punchcard.workspace.transformation_settings import CompiledTransformations, compile_transformations

_KINDS_WITH_PROBLEMS: Final = frozenset(
    {"workspace", "source", "destination", "computation", "transformation", "alert_channel", "tracking_plan"}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutedDestination:
    """A compiled destination.

    Attributes:
        name: Key in the `integrations` object.
        settings: The partner's typed settings, None if they cannot be read.
        supported: Supported calls.
        fingerprint: Changes with settings, secrets, options and `network`.
        network: Addresses that its client may connect to.
        controls: Compiled controls of the properties that it gets; None if it has none.
        transformations: Compiled transformations for this destination, by the slug of their source.
        destination: Destination as configured; it may be disabled.
        invalid: Why this version cannot use the stored document, settings or filters, else None. While it is invalid,
            its events are held and nothing is delivered.
        invalid_for_event: Why the settings sent with an event cannot be used, None if they can or none were sent.
        filters: Compiled enabled filters; none if it is invalid.
        event_settings: Settings sent with an event, as its effect stores them; None for all other events.
    """

    slug: str
    name: str
    partner: Partner
    settings: object
    supported: frozenset[EventType]
    fingerprint: str
    destination: Destination
    invalid: str | None = None
    invalid_for_event: str | None = None
    filters: DestinationFilters = field(default_factory=lambda: DestinationFilters(()))
    event_settings: Mapping[str, object] | None = None
    transformations: Mapping[str, Transformations] = field(default_factory=dict)
    network: NetworkPolicy = PUBLIC_ONLY
    controls: ControlledProperties | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceRoute:
    """A source and its destinations.

    Attributes:
        destinations: Including disabled ones, sorted by slug.
        tracking_plan: The plan that its events are compared with, None if there is none.
        transformations: For everything behind the source; None if it has none.
        hash_key: Key of the hashes of properties; None if it does not exist or cannot be decrypted.
        rules_problem: Why this version cannot use the rules of the source, else None. Its events are then stopped, and
            can be replayed.
    """

    source: Source
    destinations: tuple[RoutedDestination, ...]
    tracking_plan: CompiledPlan | None = None
    transformations: Transformations | None = None
    hash_key: bytes | None = None
    rules_problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class PartProblem:
    """A part of the stored configuration that this version cannot use.

    Attributes:
        kind: `workspace`, `source`, `destination`, `computation`, `transformation`, `alert_channel` or
            `tracking_plan`.
        slug: Slug or key of the part; "" for the workspace's own fields.
        message: Sentence that says why.
    """

    kind: str
    slug: str
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """The compiled configuration at one revision.

    Attributes:
        by_write_key: Routes by write key, including those of disabled sources.
        destinations: Destinations by slug.
        known_names: Names of destinations in the `integrations` object.
        routes: As `by_write_key`, plus the routes of Engage's own sources.
        computations: Audiences and computed traits by key, including disabled ones.
        identity: Rules of identity resolution.
        day_zone: Time zone of days in audiences and computed traits.
        own_write_keys: Write key of Engage's own source, by destination.
        invalid_computations: Why a computation cannot be used, by key. It keeps its members and is not synced.
        network: Addresses that webhooks may be sent to.
        alert_rules: Every alert rule, with the changes of the workspace.
        managed_by_file: Parts that the config file names, by kind and slug.
        point_cost: What a point costs, None if the workspace does not say so.
        alert_channels: Alert channels by slug, including disabled ones; without those that cannot be read.
        unreadable: Why a stored document cannot be read completely, by kind and slug.
        tracking_plans: Tracking plans as configured, by slug.
        invalid_plans: Why a plan cannot be used, by slug. Events of its sources are not compared with it.
        part_names: What people call each part, those that cannot be used included.
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
    day_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    invalid_computations: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[PartKey, str] = field(default_factory=dict)
    network: NetworkPolicy = PUBLIC_ONLY
    alert_rules: Mapping[AlertKind, EffectiveRule] = field(default_factory=lambda: DEFAULT_RULES)
    alert_channels: Mapping[str, AlertChannel] = field(default_factory=dict)
    managed_by_file: frozenset[PartKey] = frozenset()
    point_cost: PointCost | None = None
    tracking_plans: Mapping[str, TrackingPlan] = field(default_factory=dict)
    invalid_plans: Mapping[str, str] = field(default_factory=dict)
    part_names: Mapping[PartKey, str] = field(default_factory=dict)

    @property
    def destination_types(self) -> Mapping[str, str]:
        """The type of each destination by its slug."""
        return {slug: routed.destination.type for slug, routed in self.destinations.items()}

    def problems(self) -> list[PartProblem]:
        """Return the parts of the stored configuration that this version cannot use."""
        messages = dict(self.unreadable)
        for slug, destination in self.destinations.items():
            if destination.invalid is not None:
                messages["destination", slug] = destination.invalid
        for key, message in self.invalid_computations.items():
            messages.setdefault(("computation", key), message)
        for slug, message in self.invalid_plans.items():
            messages["tracking_plan", slug] = message
        for route in self.by_write_key.values():
            if route.rules_problem is not None:
                messages.setdefault(("source", route.source.slug), route.rules_problem)
        return [
            PartProblem(kind="computation" if kind in COMPUTATION_KINDS else kind, slug=slug, message=message)
            for (kind, slug), message in sorted(messages.items())
            if kind in _KINDS_WITH_PROBLEMS
        ]


def compile_snapshot(stored: StoredWorkspace, *, keyring: Keyring, catalog: Catalog = CATALOG) -> Snapshot:
    """Compile the stored configuration. A problem in one part affects that part only."""
    workspace, unreadable = stored.workspace, stored.unreadable
    zone, broken_workspace = read_zone(workspace, unreadable)
    network = read_network(workspace)
    transformations = compile_transformations(workspace, unreadable)
    destinations = {
        destination.slug: _compile_destination(
            destination,
            keyring,
            catalog,
            network=network,
            broken=unreadable.get(("destination", destination.slug))
            or transformations.problems.get(("destination", destination.slug))
            or broken_workspace,
            hash_key=stored.hash_key,
            transformations=transformations.of_destination(destination.slug),
        )
        for destination in workspace.destinations
    }
    plans, invalid_plans = compile_plans(
        workspace.tracking_plans, [slug for kind, slug in unreadable if kind == "tracking_plan"]
    )
    routes = [_compile_route(source, destinations, transformations, plans, stored) for source in workspace.sources]
    own = {destination.slug: _own_route(destination, keyring) for destination in destinations.values()}
    broken = {slug: problem for (kind, slug), problem in unreadable.items() if kind in COMPUTATION_KINDS}
    computations, invalid = compile_computations(part for part in workspace.computations if part.key not in broken)
    return Snapshot(
        revision=stored.revision,
        zone=zone,
        day_zone=workspace.day_zone(zone),
        identity=workspace.identity,
        point_cost=read_point_cost(workspace.point_cost, workspace.currency),
        by_write_key=MappingProxyType({key: route for route in routes for key in route.source.write_keys}),
        routes=MappingProxyType({key: route for route in (*routes, *own.values()) for key in route.source.write_keys}),
        destinations=MappingProxyType(destinations),
        known_names=built_in_names(catalog).union(destination.name for destination in destinations.values()),
        computations=MappingProxyType(computations),
        own_write_keys=MappingProxyType({slug: route.source.write_keys[0] for slug, route in own.items()}),
        invalid_computations=MappingProxyType({**invalid, **broken}),
        unreadable=unreadable,
        network=network,
        alert_rules=effective_rules(workspace.alert_rules),
        alert_channels=readable_channels(workspace, unreadable),
        managed_by_file=stored.managed_by_file,
        tracking_plans=MappingProxyType({plan.slug: plan for plan in workspace.tracking_plans}),
        invalid_plans=MappingProxyType(invalid_plans),
        part_names=MappingProxyType(name_parts(parts_by_key(workspace), catalog=catalog)),
    )


def _compile_route(
    source: Source,
    destinations: Mapping[str, RoutedDestination],
    transformations: CompiledTransformations,
    plans: Mapping[str, CompiledPlan],
    stored: StoredWorkspace,
) -> SourceRoute:
    return SourceRoute(
        source=source,
        destinations=tuple(routed for routed in destinations.values() if source.slug in routed.destination.sources),
        tracking_plan=plans.get(source.slug),
        transformations=transformations.by_source.get(source.slug),
        hash_key=stored.hash_key,
        rules_problem=transformations.problems.get(("source", source.slug)),
    )


def _own_route(destination: RoutedDestination, keyring: Keyring) -> SourceRoute:
    """Return the route that syncs audiences and computed traits to one destination, with a source of its own."""
    return SourceRoute(source=own_source(destination.destination, keyring), destinations=(destination,))


class SnapshotWatch:
    """Provides the newest snapshot, polling the revision in the store. Thread-safe.

    Args:
        interval_seconds: Minimum time between two polls.
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
        self._write_keys: frozenset[str] = frozenset()
        self._reported_failure: str | None = None
        self._problems: frozenset[PartProblem] = frozenset()

    def current(self) -> Snapshot:
        """Return the newest snapshot that could be read. Cheap unless a poll is due.

        Raises:
            ConfigurationError: There is no good snapshot yet, and the stored configuration cannot be read.
            StorageError: There is no good snapshot yet, and the store is unavailable.
        """
        snapshot = self._snapshot
        if snapshot is None:
            with self._refreshing:
                return self._snapshot or self._refresh(None)
        if self._clock.monotonic() < self._due_at or not self._refreshing.acquire(blocking=False):
            return snapshot
        try:
            return self._refresh_or_keep(self._snapshot or snapshot)
        finally:
            self._refreshing.release()

    def has_write_key(self, key: str) -> bool:
        """Return True if a source has this write key, even if the rest of the configuration cannot be used.

        Never raises: the Tracking API calls this for every request.
        """
        if self._snapshot is not None or self._clock.monotonic() >= self._due_at:
            try:
                self.current()
            except PunchcardError as error:
                # Without a snapshot, each request would poll the store.
                self._due_at = self._clock.monotonic() + self._interval_seconds
                self._report_failure(error)
        return key in self._write_keys

    def newest(self) -> Snapshot:
        """Return the snapshot of the stored configuration, or the last good one while that cannot be read.

        For routing: a saved change applies to every event that is sent after it.

        Raises:
            ConfigurationError: There is no good snapshot yet, and the stored configuration cannot be read.
            StorageError: There is no good snapshot yet, and the store is unavailable.
        """
        with self._refreshing:
            return self._refresh(None) if self._snapshot is None else self._refresh_or_keep(self._snapshot)

    def refresh(self) -> Snapshot:
        """Return the snapshot of the stored configuration, for a caller that has just changed it.

        Raises:
            ConfigurationError: The stored configuration cannot be read.
            StorageError: The store is unavailable.
        """
        with self._refreshing:
            return self._refresh(self._snapshot)

    def _refresh_or_keep(self, last_good: Snapshot) -> Snapshot:
        try:
            snapshot = self._refresh(last_good)
        except (ConfigurationError, StorageError) as error:
            self._due_at = self._clock.monotonic() + self._interval_seconds
            self._report_failure(error)
            return last_good
        if self._reported_failure is not None:
            self._reported_failure = None
            self._telemetry.configuration_reload_recovered(revision=snapshot.revision)
        return snapshot

    def _refresh(self, last: Snapshot | None) -> Snapshot:
        with self._store.reading() as work:
            revision = configuration.revision_of(work)
        if last is None or revision != last.revision:
            # Write keys first: the Tracking API needs them even if the rest cannot be compiled.
            self._write_keys = persistence.load_write_keys(self._store)
            last = self._compile()
            self._report_problems(last.problems())
        self._snapshot = last
        self._due_at = self._clock.monotonic() + self._interval_seconds
        return last

    def _compile(self) -> Snapshot:
        try:
            return compile_snapshot(
                persistence.load(self._store, self._keyring), keyring=self._keyring, catalog=self._catalog
            )
        except PunchcardError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"The stored configuration cannot be compiled: {format_error(error)}.", code="unusable_configuration"
            ) from error

    def _report_failure(self, error: PunchcardError) -> None:
        if self._reported_failure is None:
            self._telemetry.configuration_reload_failed(reason=error.message)
        self._reported_failure = error.message

    def _report_problems(self, problems: Iterable[PartProblem]) -> None:
        current = frozenset(problems)
        for problem in sorted(current - self._problems, key=lambda problem: (problem.kind, problem.slug)):
            if problem.kind == "destination":
                self._telemetry.destination_invalidated(destination=problem.slug, detail=problem.message)
            else:
                self._telemetry.part_invalidated(kind=problem.kind, slug=problem.slug, detail=problem.message)
        self._problems = current


def _compile_destination(
    destination: Destination,
    keyring: Keyring,
    catalog: Catalog,
    *,
    network: NetworkPolicy,
    broken: str | None,
    hash_key: bytes | None,
    transformations: Mapping[str, Transformations],
) -> RoutedDestination:
    """Compile a destination; if it cannot be used, the result says why.

    Args:
        broken: Why it must not be used even if its settings are valid, else None.
    """
    type_ = destination.type
    partner = catalog.get(type_) or MissingPartner(type_, find_load_problem(catalog, type_))
    settings, controls, invalid, fingerprint = None, None, broken, ""
    supported = partner.definition.supported
    filters = DestinationFilters(())
    try:
        settings = partner.read_settings(destination.settings, destination.options)
        partner.delivery_options(settings)
        supported = partner.supported_calls(settings)
        filters = compile_filters(destination.filters)
        controls = compile_controls(destination.controls, hash_key)
        fingerprint = settings_fingerprint(destination, keyring)
        if network.allowed:
            fingerprint = keyring.fingerprint(f"{fingerprint} {network.allowed}".encode())
    except Exception as error:  # noqa: BLE001  # a problem of one destination must not affect the others
        invalid = invalid or format_error(error)
    if broken is not None:
        settings = None
    if invalid is not None:
        filters = DestinationFilters(())
    return RoutedDestination(
        slug=destination.slug,
        name=partner.definition.name,
        partner=partner,
        settings=settings,
        supported=supported,
        network=network,
        fingerprint=fingerprint,
        destination=destination,
        invalid=invalid,
        filters=filters,
        transformations=transformations,
        controls=controls,
    )
