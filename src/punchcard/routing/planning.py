"""What one valid event plans at each destination of its source: an intent, or a result with its reason. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from punchcard.destinations.definition import Capability, FieldType
from punchcard.destinations.port import Intent
from punchcard.errors import ConfigurationError, RefusedError
from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType
from punchcard.filters.destination_filters import DestinationFilters
from punchcard.filters.transformations import Transformations, values_not_computed
from punchcard.routing.consent import is_stated, missing_consent
from punchcard.routing.integrations import allows
from punchcard.routing.records import INTERNAL_ERROR, describe
from punchcard.routing.rule_steps import RewritingError, rewrite
from punchcard.routing.source_rules import SourceRules
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.workspace.controlled_properties import CONTROL_FAILED
from punchcard.workspace.snapshot import RoutedDestination, SourceRoute

# Refusals that depend on nothing but an event's type and name, so that they are decided once for all such events.
_SAME_FOR_ALL = frozenset({"not_allowlisted"})
_REMEMBERED_MAX = 10_000
_SETTINGS_REMEMBERED_MAX = 100
# What some senders always put into `integrations`: nothing.
_EVERYWHERE = b"{}"


@dataclass(frozen=True, slots=True)
class Planned:
    """A destination's intent for an event."""

    destination: RoutedDestination
    intent: Intent


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one event.

    Attributes:
        decided: The results decided so far.
        planned: The intents that the ledger decides on.
        refused_orders: Destination, order id and reason where an award for an order was refused.
        is_final: True if `decided` is all of it, whatever the event's own content: nothing planned, held or refused
            of an order.
    """

    decided: tuple[EventResult, ...]
    planned: Sequence[Planned] = ()
    refused_orders: Sequence[tuple[str, str, str]] = ()
    is_final: bool = False


class Planner:
    """Plans events of one source under one configuration.

    Most events of a source earn nothing for a reason that all events of their name share; those share one tuple.

    Args:
        rules: What happens to an event before it comes to `plan`; None if the source has no rules.
    """

    def __init__(self, route: SourceRoute, zone: ZoneInfo, *, rules: SourceRules | None = None) -> None:
        self.rules = rules
        self._route = route
        self._zone = zone
        self._filters: tuple[DestinationFilters | Transformations, ...] = (
            *(routed.filters for routed in route.destinations if routed.filters),
            *(
                routed.transformations[route.source.slug]
                for routed in route.destinations
                if route.source.slug in routed.transformations
            ),
        )
        self._asks_consent = any(routed.destination.consent for routed in route.destinations)
        self._shared: dict[tuple[EventType, str | None], Plan] = {}
        self._by_settings: dict[bytes, Planner] = {}
        stopped = stopped_at_source(route)
        self._stopped = None if stopped is None else Plan((stopped,), is_final=True)

    def plan(self, event: Event) -> Plan:
        """Return the plan of the event at each destination.

        A pending result means that the destination cannot plan the event now: it must be held.
        """
        if self._stopped is not None:
            return self._stopped
        wire = event.wire
        name = (event.type, wire.event)
        integrations = wire.integrations
        plain = (not integrations or bytes(integrations) == _EVERYWHERE) and not (
            self._asks_consent and is_stated(wire.context)
        )
        if (
            plain
            and (shared := self._shared.get(name)) is not None
            and (not self._filters or self._filters_leave(event))
        ):
            return shared
        results: list[EventResult] = []
        planned: list[Planned] = []
        refused: list[tuple[str, str, str]] = []
        for destination in self._route.destinations:
            result = try_plan(event, destination, source=self._route.source.slug, zone=self._zone)
            if isinstance(result, RefusedError):
                if isinstance(order_id := result.context.get("order_id"), str):
                    refused.append((destination.slug, order_id, result.code))
                result = refusal_of(destination, result)
            if isinstance(result, EventResult):
                results.append(result)
            else:
                planned.append(Planned(destination, result))
        decided = tuple(results)
        if plain and not planned and all(map(_is_same_for_all, decided)) and self._filters_leave(event):
            if len(self._shared) >= _REMEMBERED_MAX:
                self._shared.clear()
            plan = self._shared[name] = Plan(decided, is_final=True)
            return plan
        return Plan(decided, planned, refused)

    def plan_received(self, event: Event) -> Plan:
        """Return the plan of the event as received: as the rules of its source leave it."""
        if self.rules is None:
            return self.plan(event)
        try:
            ruled = self.rules.apply(event)
        except Exception as error:  # noqa: BLE001  # as routing has it
            return Plan((internal_error(error),), is_final=True)
        if ruled is not None and ruled.result is not None:
            return Plan((ruled.result,), is_final=True)
        return self.plan(event if ruled is None or ruled.event is None else ruled.event)

    def with_settings(self, settings: bytes) -> "Planner":
        """Return the planner of the same source with settings that came with the events.

        Args:
            settings: JSON text of those settings that they replace.
        """
        known = self._by_settings.get(settings)
        if known is None:
            destinations = tuple(with_settings(routed, settings) for routed in self._route.destinations)
            known = Planner(replace(self._route, destinations=destinations), self._zone, rules=self.rules)
            if len(self._by_settings) >= _SETTINGS_REMEMBERED_MAX:
                self._by_settings.clear()
            self._by_settings[settings] = known
        return known

    def _filters_leave(self, event: Event) -> bool:
        """True if no filter has anything to do with the event, so that it ends as others of its name do."""
        try:
            for filters in self._filters:
                if filters.apply(event) is not None:
                    return False
        except Exception:  # noqa: BLE001  # the event is then planned on its own, which says what is wrong
            return False
        return True


def internal_error(error: Exception) -> EventResult:
    """The result of an event on which Punchcard fails before it comes to any destination."""
    return EventResult(
        None, EventStatus.FAILED_ON_INGEST, INTERNAL_ERROR, f"Punchcard failed on this event: {describe(error)}."
    )


def with_settings(destination: RoutedDestination, settings: bytes) -> RoutedDestination:
    """The destination as an event sees it that brings its own settings: of the stored ones, it has the secrets only."""
    definition = destination.partner.definition
    if Capability.EVENT_SETTINGS not in definition.capabilities:
        return destination  # they are meant for the destination of the endpoint
    fields = definition.settings
    stored = destination.destination.settings
    try:
        given = msgspec.json.decode(settings, type=dict[str, Any])
        secrets = {field.key: stored.get(field.key) for field in fields if field.secret}
        # The partner endpoint takes no call without its maps; a record from before it asked for them had these.
        maps = {field.key: stored.get(field.key) for field in fields if field.type is FieldType.TEXT_MAP}
        return replace(
            destination,
            settings=destination.partner.read_settings({**maps, **given, **secrets}, destination.destination.options),
            # What maps say is decided when the event is planned; they may be long.
            event_settings={key: value for key, value in given.items() if key not in maps},
        )
    except (ConfigurationError, *UNREADABLE) as error:
        return replace(destination, invalid_for_event="; ".join(str(error).splitlines()))


def stopped_at_source(route: SourceRoute) -> EventResult | None:
    """The result of every event of a source that is switched off or leads nowhere, else None."""
    if not route.source.enabled:
        return EventResult(None, EventStatus.FAILED_ON_INGEST, "source_disabled", "the source is switched off")
    if not route.destinations:
        detail = "no destination takes events of this source"
        return EventResult(None, EventStatus.FILTERED_AT_SOURCE, "no_destination", detail)
    return None


def plan_at(event: Event, destination: RoutedDestination, *, source: str, zone: ZoneInfo) -> Intent | EventResult:
    """One event at one destination: every gate in Segment's order, then the destination's own mapping."""
    result = try_plan(event, destination, source=source, zone=zone)
    return refusal_of(destination, result) if isinstance(result, RefusedError) else result


def refusal_of(destination: RoutedDestination, error: RefusedError) -> EventResult:
    """The result of an event that the destination's mapping has refused."""
    return EventResult(destination.slug, EventStatus.REFUSED, error.code, error.message)


def try_plan(
    event: Event, destination: RoutedDestination, *, source: str, zone: ZoneInfo
) -> Intent | EventResult | RefusedError:
    """The same as `plan_at`, with a refusal as the error that says which order it is of."""
    note = ""
    try:
        stopped = _stopped_before_filters(event, destination)
        if stopped is not None:
            return stopped
        if destination.invalid is not None:
            return _refused_in_any_case(event, destination, source, zone) or _on_hold(destination)
        if destination.filters and (filtered := destination.filters.apply(event)) is not None:
            if filtered.event is None:
                return EventResult(
                    destination.slug, EventStatus.FILTERED_AT_DESTINATION, filtered.reason or "", filtered.detail
                )
            event = filtered.event
        if destination.controls is not None and (controlled := destination.controls.apply(event.raw)) is not None:
            raw, done = controlled
            event = rewrite(event, raw)
            note = f"changed for this destination: {done:.200}"
        transformations = destination.transformations.get(source)
        if transformations is not None and (transformed := transformations.apply(event)) is not None:
            if transformed.event is None:
                return EventResult(
                    destination.slug, EventStatus.FILTERED_AT_DESTINATION, transformed.reason, transformed.detail
                )
            event = transformed.event
            if missing := values_not_computed(transformed.notes):
                note = f"{note}; {missing}" if note else missing
        intent = destination.partner.plan(
            event, destination.settings, source=source, destination=destination.slug, timezone=zone
        )
    except RefusedError as refusal:
        return _with_refusal_note(refusal, note)
    except RewritingError as error:
        detail = f"what the controls of the destination make of the event is not valid: {error.message}"
        return EventResult(destination.slug, EventStatus.FILTERED_AT_DESTINATION, CONTROL_FAILED, detail)
    except Exception as error:  # noqa: BLE001  # a defect met by one event must not stop others, nor lose this one
        detail = (
            f"filters or mapping of the destination failed on this event ({describe(error)}). It is "
            "held, and planned again when the configuration or the version of Punchcard changes"
        )
        return EventResult(destination.slug, EventStatus.PENDING, "planning_failed", detail)
    if note:
        intent = replace(intent, note=f"{intent.note}. {note}" if intent.note else note)
    return intent if destination.event_settings is None else replace(intent, event_settings=destination.event_settings)


def _with_refusal_note(refusal: RefusedError, note: str) -> RefusedError:
    """Return a refusal that says what was changed before: without that, the event might have earned something."""
    if not note or refusal.code in _SAME_FOR_ALL:
        return refusal
    return RefusedError(f"{refusal.message}; {note}", code=refusal.code, **refusal.context)


def _on_hold(destination: RoutedDestination) -> EventResult:
    detail = (
        f"the destination cannot be used as it is configured: {destination.invalid}. The event is held, and planned "
        "when that is corrected"
    )
    return EventResult(destination.slug, EventStatus.PENDING, "destination_on_hold", detail)


def _refused_in_any_case(
    event: Event, destination: RoutedDestination, source: str, zone: ZoneInfo
) -> EventResult | None:
    """The refusal of an event that earns nothing whatever the filter does that cannot be used; None if it might earn.

    So the many events that are not mapped need not be held, unless a transformation might give them a mapped name.
    """
    transformations = destination.transformations.get(source)
    may_be_renamed = transformations is not None and transformations.may_rename_events
    if destination.settings is None or may_be_renamed:
        return None
    try:
        destination.partner.plan(
            event, destination.settings, source=source, destination=destination.slug, timezone=zone
        )
    except RefusedError as refusal:
        if refusal.code in _SAME_FOR_ALL:
            return refusal_of(destination, refusal)
    return None


def _stopped_before_filters(event: Event, destination: RoutedDestination) -> EventResult | None:
    def filtered(reason: str, detail: str) -> EventResult:
        return EventResult(destination.slug, EventStatus.FILTERED_AT_DESTINATION, reason, detail)

    if not destination.destination.enabled:
        detail = "the destination was off; switch it on and replay the event to deliver it"
        return EventResult(destination.slug, EventStatus.DESTINATION_OFF, "destination_off", detail)
    if destination.invalid_for_event is not None:
        return filtered(
            "INVALID_SETTINGS", f"the settings that came with the event are not valid: {destination.invalid_for_event}"
        )
    refused = missing_consent(event.wire.context, destination.destination.consent)
    if refused is not None:
        return filtered("FILTERED_BY_END_USER_CONSENT", f'the end user has not agreed to "{refused}"')
    if event.wire.integrations and not allows(bytes(event.wire.integrations), destination.name):
        return filtered(
            "FILTERED_BY_INTEGRATIONS_OBJECT",
            f"the event's integrations object keeps it from {destination.name}",
        )
    if event.type not in destination.supported:
        by = " by its settings" if event.type in destination.partner.definition.supported else ""
        return filtered("unsupported_event_type", f"{destination.name} takes no {event.type} calls{by}")
    return None


def _is_same_for_all(result: EventResult) -> bool:
    return (
        result.status in (EventStatus.FILTERED_AT_DESTINATION, EventStatus.DESTINATION_OFF)
        or result.reason in _SAME_FOR_ALL
    )
