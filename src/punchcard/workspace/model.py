"""The configuration as one value, edited by file, App and Public API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from punchcard.profiles.rules import IdentityRules
from punchcard.tracking_plans.model import Enforcement, TrackingPlan


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label of a source, such as `environment:production`. Labels have no effect."""

    key: str
    value: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class SchemaSwitches:
    """What of a source's schema is switched off: such events are stopped, such members are removed.

    Attributes:
        events: Names of track calls.
        calls: Types of other calls, such as `page`.
        properties: Names of properties by the name of their track call, nested ones with dots.
        traits: Names of traits by the type of their call, `identify` or `group`.
    """

    events: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    properties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PropertyControls:
    """Which properties of events are dropped, masked or hashed. Paths begin with `properties.`, for example.

    Controls of a source apply to everything: the values are stored nowhere. Controls of a destination apply to what it
    receives.

    Attributes:
        drop: Removed.
        mask: Only the last four characters of a long text stay.
        hash: Replaced by a keyed hash: equal values have equal hashes.
    """

    drop: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where events come from.

    Attributes:
        slug: Identifier in keys and files, `[a-z0-9-]`, never changed.
        name: Display name.
        write_keys: Credentials of its senders; several while one is being replaced.
        type: Type in the catalog of sources, which selects the snippets that the App shows.
        enabled: False refuses its events (`source_disabled`).
        is_managed: True if the partner endpoint manages it: config files neither contain nor remove it.
        labels: Labels set with the Public API; config files neither contain nor remove them.
        enforcement: What is done with events that violate the tracking plan of the source.
        switched_off: What of its schema is switched off.
        controls: What is dropped, masked or hashed before it is stored.
    """

    slug: str
    name: str
    write_keys: tuple[str, ...]
    type: str = "http-api"
    enabled: bool = True
    is_managed: bool = False
    labels: tuple[Label, ...] = ()
    enforcement: Enforcement = field(default_factory=Enforcement)
    switched_off: SchemaSwitches = field(default_factory=SchemaSwitches)
    controls: PropertyControls = field(default_factory=PropertyControls)


@dataclass(frozen=True, kw_only=True)
class DestinationFilter:
    """A destination filter as configured.

    Attributes:
        title: Display name, at most 64 characters.
        condition: FQL text (`if` in files).
        enabled: False if the filter is not applied.
        actions: Actions as data, e.g. `{"type": "DROP"}`.
        description: Description for people.
        id: Assigned when the filter is first saved; it stays as long as the title stays, or the API uses the id.
        source: Slug of the source that was sent with it to the Public API; the filter applies to events of all sources.
        created_at: ISO text, assigned when the filter is first saved; "" if an old version has stored it.
        updated_at: ISO text of the last change; "" if an old version has stored it.
    """

    title: str
    condition: str
    enabled: bool = True
    actions: tuple[Mapping[str, object], ...] = ()
    description: str = ""
    id: str = ""
    source: str = ""
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A configured instance of a destination definition.

    Attributes:
        slug: Identifier in files, the API and the ledger; never changed.
        type: Slug of the definition in the catalog.
        name: Display name; empty for the definition's name.
        sources: Slugs of the connected sources.
        enabled: False if it receives no events; its queue is kept.
        consent: Consent categories: it gets an event with consent preferences only if all of them are granted.
        settings: The partner's settings by their wire keys, with secrets in plain text.
        options: Punchcard's own options, without defaults.
        filters: Destination filters in order.
        is_managed: True if the partner endpoint manages it, as for sources.
        controls: What is dropped, masked or hashed before its transformations and its mapping see an event.
    """

    slug: str
    type: str
    sources: tuple[str, ...]
    name: str = ""
    enabled: bool = True
    consent: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    options: Mapping[str, object] = field(default_factory=dict)
    filters: tuple[DestinationFilter, ...] = ()
    is_managed: bool = False
    controls: PropertyControls = field(default_factory=PropertyControls)


@dataclass(frozen=True, kw_only=True)
class Computation:
    """An audience or a computed trait.

    Attributes:
        kind: `audience` or `computed_trait`; both share one set of keys.
        key: Name of the trait on profiles and in payloads, snake_case, never changed.
        name: Display name.
        definition: Text in the query language.
        description: Description for people.
        enabled: False stops computing; its members stay as they are.
        destinations: Slugs of the destinations that it is synced to.
        send: Calls that sync it: `identify`, `track` or both.
        sync: `real-time`, or an interval such as `every 2 hours`.
        include_anonymous: True includes people who are known by an anonymous id only.
        include_history: False counts only events since its creation.
        when_removed: What destinations receive when it is disabled or deleted: `keep` (nothing) or `false`.
    """

    kind: str
    key: str
    name: str
    definition: str
    description: str = ""
    enabled: bool = True
    destinations: tuple[str, ...] = ()
    send: tuple[str, ...] = ("identify",)
    sync: str = "real-time"
    include_anonymous: bool = False
    include_history: bool = True
    when_removed: str = "keep"


@dataclass(frozen=True, kw_only=True)
class PropertyRename:
    """A property and its new name; nested ones with dots."""

    old_name: str
    new_name: str


@dataclass(frozen=True, kw_only=True)
class PropertyValue:
    """Paths from the event on, such as `properties.currency`, and the value that they get."""

    property_paths: tuple[str, ...]
    property_value: str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class FqlDefinedProperty:
    """A property, nested ones with dots, and the FQL expression of its value."""

    property_name: str
    fql: str


@dataclass(frozen=True, kw_only=True)
class Transformation:
    """A transformation of the events of a source, for everything or for one destination.

    Attributes:
        slug: Identifier in files and the API, never changed.
        name: Display name.
        source: Slug of the source.
        condition: FQL text (`if` in files); it applies to events for which this is true.
        destination: Slug of the destination that gets the changed events; "" for everything behind the source.
        enabled: False if it is not applied.
        order: Transformations of one scope are applied by rising numbers, then by slug.
        drop: True drops the events; everything below is then ignored.
        new_event_name: New name of a track call, "" for no change.
        property_renames: Properties with a new name.
        property_value_transformations: Values to set.
        fql_defined_properties: Properties that get the value of an expression.
        property_drops: Properties to remove.
        allow_properties: The only properties to keep; empty keeps all.
    """

    slug: str
    name: str
    source: str
    condition: str
    destination: str = ""
    enabled: bool = True
    order: int = 0
    drop: bool = False
    new_event_name: str = ""
    property_renames: tuple[PropertyRename, ...] = ()
    property_value_transformations: tuple[PropertyValue, ...] = ()
    fql_defined_properties: tuple[FqlDefinedProperty, ...] = ()
    property_drops: tuple[str, ...] = ()
    allow_properties: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AlertChannel:
    """Where notices of alerts are sent.

    Attributes:
        slug: Its identifier in the API, made of its name when it is added.
        name: Its name for people.
        url: A URL of Apprise, or an `https://` one for the generic webhook. It may hold a password.
        severity: The lowest severity that is sent.
        quiet_hours: When only critical alerts are sent, such as `22:00-07:00` in the workspace's time zone; "" never.
        secret: Signs what the generic webhook sends, as Standard Webhooks; "" for no signature.
        enabled: False sends nothing.
    """

    slug: str
    name: str
    url: str = field(repr=False)
    severity: str = "warning"
    quiet_hours: str = ""
    secret: str = field(default="", repr=False)
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """What differs from the defaults of one alert rule.

    Attributes:
        rule: Its name.
        severity: "" for the rule's own.
        threshold: None for the rule's own.
    """

    rule: str
    enabled: bool = True
    severity: str = ""
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The whole configuration.

    Attributes:
        name: Name of the business.
        timezone: IANA name; defines when a day begins.
        day_borders: Days of audiences and computed traits: `timezone`, or `utc`.
        identity: Rules of identity resolution.
        labels: Labels that sources may have, in addition to those in use.
        webhook_allowed_networks: Private networks that webhooks may be sent to, e.g. `10.0.0.0/8`.
        point_cost: What one point costs, as decimal text; "" if points are not shown as money.
        currency: ISO 4217 code of that cost.
    """

    name: str = "My workspace"
    timezone: str = "UTC"
    day_borders: str = "timezone"
    webhook_allowed_networks: tuple[str, ...] = ()
    point_cost: str = ""
    currency: str = "USD"
    labels: tuple[Label, ...] = ()
    identity: IdentityRules = field(default_factory=IdentityRules)
    sources: tuple[Source, ...] = ()
    destinations: tuple[Destination, ...] = ()
    computations: tuple[Computation, ...] = ()
    transformations: tuple[Transformation, ...] = ()
    alert_channels: tuple[AlertChannel, ...] = ()
    alert_rules: tuple[AlertRule, ...] = ()
    tracking_plans: tuple[TrackingPlan, ...] = ()

    def zone(self) -> ZoneInfo:
        """Return the time zone."""
        return ZoneInfo(self.timezone)

    def day_zone(self, zone: ZoneInfo) -> ZoneInfo:
        """Return the time zone of days in audiences and computed traits.

        Args:
            zone: Time zone of the workspace.
        """
        return ZoneInfo("UTC") if self.day_borders == "utc" else zone
