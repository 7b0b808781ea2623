"""The configuration as one value: what file, App and Public API edit and the loops run on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from punchcard.profiles.rules import IdentityRules


@dataclass(frozen=True, kw_only=True)
class Label:
    """A word for people on a source, such as `environment:production`. Nothing acts on it."""

    key: str
    value: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where events come from.

    Attributes:
        slug: Its word in keys and files, `[a-z0-9-]`, never changed.
        name: Its name for people.
        write_keys: Credentials of its senders; several while one is being replaced.
        type: What sends, as a word of the catalog of sources; it chooses the snippets that people are shown.
        enabled: False refuses its events (`source_disabled`).
        is_managed: Punchcard has made it for callers of the partner endpoint: a config file neither holds nor removes
            it.
        labels: As the Public API has set them; a config file neither holds nor removes them.
    """

    slug: str
    name: str
    write_keys: tuple[str, ...]
    type: str = "http-api"
    enabled: bool = True
    is_managed: bool = False
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DestinationFilter:
    """A destination filter as configured: kept whole until the filter language reads it.

    Attributes:
        title: Its name for people, at most 64 characters.
        condition: FQL text (`if` in files).
        enabled: False leaves it out.
        actions: The actions as data, e.g. `{"type": "DROP"}`.
        description: What it is for.
        id: Given when it is applied; it outlives changes as long as the title stays, or the API changes it by its id.
        source: Slug of the source that the Public API was given with it; a filter is asked for events of every source.
        created_at: ISO text, given when it is applied and never changed; "" for one of a version that kept none.
        updated_at: ISO text of its last change; "" likewise.
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
        slug: Its word in files, the API and the ledger; never changed.
        type: Slug of the definition in the catalog.
        name: Its name for people; empty for the definition's.
        sources: Slugs of the sources whose events it gets.
        enabled: False: gets nothing, what is queued stays queued.
        consent: Categories of consent that it belongs to: it gets an event that states consent only if all are given.
        settings: The partner's settings under their wire keys, plain text secrets included.
        options: Our own tuning under its keys, without defaults filled in.
        filters: Destination filters in order.
        is_managed: As of a source.
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


@dataclass(frozen=True, kw_only=True)
class Computation:
    """An audience or a computed trait.

    Attributes:
        kind: `audience` or `computed_trait`; both share one set of keys.
        key: Its trait on profiles and in payloads, snake_case, never changed.
        name: Its name for people.
        definition: Text of the query language.
        description: What it is for.
        enabled: False stops computing; its members stay what they were.
        destinations: Slugs of the destinations that are told.
        send: How they are told: `identify`, `track` or both.
        sync: When: `real-time`, or a rhythm such as `every 2 hours`.
        include_anonymous: True counts people to whom nothing but an anonymous id leads.
        include_history: False counts only events from its creation on.
        when_removed: What destinations are told when it is switched off or deleted: `keep` (nothing) or `false`.
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
        name: The business's name.
        timezone: IANA name; decides what "a day" is.
        day_borders: Where days begin and end for audiences and computed traits: `timezone`, or `utc`.
        identity: How profiles are told apart.
        labels: Those that sources may have, beside those that they do.
        webhook_allowed_networks: Networks with private addresses that webhooks may be sent to, e.g. `10.0.0.0/8`.
    """

    name: str = "My workspace"
    timezone: str = "UTC"
    day_borders: str = "timezone"
    webhook_allowed_networks: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    identity: IdentityRules = field(default_factory=IdentityRules)
    sources: tuple[Source, ...] = ()
    destinations: tuple[Destination, ...] = ()
    computations: tuple[Computation, ...] = ()
    alert_channels: tuple[AlertChannel, ...] = ()
    alert_rules: tuple[AlertRule, ...] = ()

    def zone(self) -> ZoneInfo:
        """The time zone as a value."""
        return ZoneInfo(self.timezone)

    def day_zone(self, zone: ZoneInfo) -> ZoneInfo:
        """The zone in which days begin and end for audiences and computed traits.

        Args:
            zone: The time zone as a value.
        """
        return ZoneInfo("UTC") if self.day_borders == "utc" else zone
