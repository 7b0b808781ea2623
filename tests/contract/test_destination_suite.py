"""The conformance suite of destinations: both built-in ones pass it, and it fails on what it is there to find."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from punchcard.destinations.perkville.partner import PerkvillePartner
from punchcard.destinations.port import EffectKey, Intent
from punchcard.destinations.webhooks.partner import WebhooksPartner
from punchcard.events.model import Event
from punchcard.testing.destination_suite import DestinationSuite


class TestPerkville(DestinationSuite):
    destination = PerkvillePartner()
    settings = {
        "apiKey": "a-secret-token",
        "businessId": "41",
        "locationId": "7",
        "eventToPerkMap": {"Order Completed": "123456", "Checked In": "123457", "Order Refunded": "123456"},
    }
    options = {"requestsPerSecond": 0, "oncePerDay": ["Checked In"]}
    events = (
        {
            "type": "track",
            "event": "Order Completed",
            "userId": "u",
            "messageId": "m1",
            "properties": {"email": "ann@example.com", "order_id": "o1", "revenue": 9.99},
        },
        {
            "type": "track",
            "event": "Checked In",
            "userId": "u",
            "messageId": "m2",
            "properties": {"email": "ann@example.com"},
        },
        {
            "type": "identify",
            "userId": "u",
            "messageId": "m3",
            "traits": {"email": "ann@example.com", "vip": True},
            "context": {"personas": {"computation_key": "vip", "computation_class": "audience"}},
        },
    )

    def settings_for(self, url: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
        return self.settings, {**self.options, "apiBaseUrl": url, "requestTimeoutSeconds": 5}


class TestWebhooks(DestinationSuite):
    destination = WebhooksPartner()
    settings = {"url": "https://example.com/hook", "sharedSecret": "a-shared-secret", "headers": {"X-Key": "header-1"}}
    options = {"template": '{"id": {"@path": "$.messageId"}, "all": {"@path": "$"}}'}
    events = tuple(
        {"type": type_, "event": "A", "userId": "u", "groupId": "g", "previousId": "p", "messageId": f"m-{type_}"}
        for type_ in ("track", "identify", "page", "screen", "group", "alias")
    )

    def settings_for(self, url: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
        return {**self.settings, "url": url}, self.options


class _Changing(WebhooksPartner):
    def plan(self, event: Event, settings: object, **places: Any) -> Intent:
        intent = super().plan(event, settings, **places)
        return replace(intent, effect_key=EffectKey(f"k{time.monotonic_ns()}"))


class _Reading(WebhooksPartner):
    def plan(self, event: Event, settings: object, **places: Any) -> Intent:
        with open("/etc/hostname") as file:
            file.read()
        return super().plan(event, settings, **places)


class _Partial(WebhooksPartner):
    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        {"track": 1}[event.type]
        return super().plan(event, settings, source=source, destination=destination, timezone=timezone)


class _Undeclared(WebhooksPartner):
    definition = replace(WebhooksPartner.definition, kinds=())


class _Forgetful(WebhooksPartner):
    def client(self, settings: object, **network: Any) -> Any:
        client = super().client(settings, **network)

        async def fail(effect: object) -> object:
            raise KeyError("status")

        client.perform = fail  # type: ignore[method-assign,assignment]
        return client


class _Leaking(WebhooksPartner):
    def preview(self, effect: Any, settings: Any) -> Mapping[str, object]:
        return {"secret": settings.shared_secret}


@pytest.mark.parametrize(
    ("destination", "test"),
    [
        (_Changing(), "test_keys_are_stable"),
        (_Reading(), "test_the_mapping_does_no_io"),
        (_Partial(), "test_the_mapping_is_total"),
        (_Undeclared(), "test_the_definition_is_complete"),
        (_Undeclared(), "test_the_events_of_this_suite_are_accepted"),
        (_Forgetful(), "test_every_status_is_classified"),
        (_Forgetful(), "test_a_broken_connection_is_classified"),
        (_Leaking(), "test_previews_are_json_and_show_no_secret"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_suite_finds_what_it_is_there_to_find(destination: WebhooksPartner, test: str) -> None:
    class Suite(TestWebhooks):
        pass

    Suite.destination = destination
    with pytest.raises((AssertionError, KeyError)):
        getattr(Suite(), test)()


def test_a_request_that_has_changed_is_found(tmp_path: Path) -> None:
    class Suite(TestWebhooks):
        snapshots = tmp_path

    with pytest.raises(AssertionError, match="for the first time"):
        Suite().test_requests_are_as_they_were()
    Suite().test_requests_are_as_they_were()
    Suite.settings = {**Suite.settings, "url": "https://example.com/other"}
    with pytest.raises(AssertionError, match="has changed"):
        Suite().test_requests_are_as_they_were()
