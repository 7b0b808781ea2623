"""Perkville's settings: the five of Segment's page, our options, and what is refused before it is saved."""

from collections.abc import Mapping

import pytest

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.perkville.definition import PERKVILLE
from punchcard.destinations.perkville.settings import RefundMethod, read_settings
from punchcard.errors import ConfigurationError
from punchcard.events.model import EventType

FIVE = {
    "apiKey": "s3cret-token",
    "businessId": "41",
    "locationId": "7",
    "sendEmail": True,
    "eventToPerkMap": {"Order Completed": "123456", "Checked In": "123457"},
}


def test_the_catalog_entry_is_segments() -> None:
    assert CATALOG["perkville"].definition is PERKVILLE
    assert PERKVILLE.id == "60de4ee01f55f299594f38ed"
    assert PERKVILLE.name == "Perkville"
    assert PERKVILLE.supported == {EventType.TRACK, EventType.IDENTIFY}
    assert {field.key for field in PERKVILLE.settings} == set(FIVE)
    assert [field.key for field in PERKVILLE.settings if field.secret] == ["apiKey"]


def test_the_five_settings_are_read() -> None:
    settings = read_settings(FIVE, {})
    assert settings.api_key == "s3cret-token"
    assert (settings.business_id, settings.location_id, settings.send_email) == ("41", "7", True)
    assert dict(settings.event_to_perk_map) == FIVE["eventToPerkMap"]


def test_options_have_the_defaults_of_the_contract() -> None:
    settings = read_settings(FIVE, {})
    assert settings.api_base_url == "https://api.perkville.com"
    assert settings.refund_method is RefundMethod.AUTO
    assert settings.once_per_day == frozenset()
    assert settings.delivery.requests_per_second == 2
    assert settings.delivery.retry_base_seconds == 30
    assert settings.delivery.tries_max == 10
    assert settings.delivery.request_timeout_seconds == 10
    assert settings.delivery.unknown_wait_seconds == 10


def test_options_are_read() -> None:
    settings = read_settings(
        FIVE,
        {
            "apiBaseUrl": "http://127.0.0.1:9100/",
            "requestsPerSecond": 0,
            "refundMethod": "redeem",
            "oncePerDay": ["Checked In"],
            "wire": {"perkKey": "perk_id", "perkReference": "{id}", "locationKey": ""},
        },
    )
    assert settings.api_base_url == "http://127.0.0.1:9100"
    assert settings.delivery.requests_per_second == 0
    assert settings.refund_method is RefundMethod.REDEEM
    assert settings.once_per_day == {"Checked In"}
    assert (settings.wire.perk_key, settings.wire.perk_reference, settings.wire.location_key) == ("perk_id", "{id}", "")


def test_the_token_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(read_settings(FIVE, {}))


@pytest.mark.parametrize(
    ("settings", "options", "path"),
    [
        pytest.param({"apiKey": "two words"}, {}, "settings.apiKey", id="token-with-blank"),
        pytest.param({"businessId": "/v2/41/"}, {}, "settings.businessId", id="business-is-no-id"),
        pytest.param({"locationId": "7?x"}, {}, "settings.locationId", id="location-is-no-id"),
        pytest.param(
            {"eventToPerkMap": {"Checked In": " "}}, {}, "settings.eventToPerkMap.Checked In", id="perk-is-no-id"
        ),
        pytest.param({}, {"apiBaseUrl": "api.perkville.com"}, "options.apiBaseUrl", id="address-without-scheme"),
        pytest.param({}, {"apiBaseUrl": "https://u:p@x.example"}, "options.apiBaseUrl", id="address-with-password"),
        pytest.param({}, {"apiBaseUrl": "http://[::1"}, "options.apiBaseUrl", id="address-broken"),
        pytest.param({}, {"apiBaseUrl": "http://a..b"}, "options.apiBaseUrl", id="host-with-empty-label"),
        pytest.param({}, {"apiBaseUrl": f"http://{'a' * 64}.example"}, "options.apiBaseUrl", id="host-with-long-label"),
        pytest.param({}, {"apiBaseUrl": "http://api.perkville.com"}, "options.apiBaseUrl", id="token-in-the-clear"),
        pytest.param({}, {"oncePerDay": ["Checked in"]}, "options.oncePerDay", id="once-a-day-unmapped"),
        pytest.param({}, {"refundMethod": "void"}, "options.refundMethod", id="no-such-refund-method"),
        pytest.param({}, {"wire": {"perkkey": "x"}}, "options.wire.perkkey", id="no-such-wire-name"),
        pytest.param({}, {"wire": {"perkKey": ""}}, "options.wire.perkKey", id="wire-name-needed"),
        pytest.param({}, {"wire": {"perkReference": "/v2/"}}, "options.wire.perkReference", id="reference-without-id"),
        pytest.param({}, {"wire": {"perksPath": "/v2/perks"}}, "options.wire.perksPath", id="path-without-slash"),
        pytest.param({}, {"wire": {"perksPath": "/v2 x/"}}, "options.wire.perksPath", id="path-with-a-blank"),
        pytest.param({}, {"wire": {"perksPath": "/v2/?a/"}}, "options.wire.perksPath", id="path-with-a-query"),
        pytest.param({}, {"wire": {"perksPath": "/v2/ü/"}}, "options.wire.perksPath", id="path-not-encoded"),
        pytest.param({}, {"wire": {"perksPath": "//"}}, "options.wire.perksPath", id="path-of-another-host"),
        pytest.param({}, {"wire": {"perkKey": "email"}}, "options.wire.perkKey", id="key-of-another-value"),
        pytest.param({}, {"wire": {"emailFilter": "limit"}}, "options.wire.emailFilter", id="filter-of-another-value"),
        pytest.param({}, {"wire": {"pageLimit": "0"}}, "options.wire.pageLimit", id="page-limit"),
        pytest.param({}, {"wire": {"quantityForm": "float"}}, "options.wire.quantityForm", id="quantity-form"),
    ],
)
def test_what_cannot_work_is_refused_with_its_key_path(
    settings: Mapping[str, object], options: Mapping[str, object], path: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings({**FIVE, **settings}, options)
    assert [line.partition(": ")[0] for line in caught.value.message.splitlines()] == [path]


def test_an_empty_map_is_allowed() -> None:
    assert not read_settings({**FIVE, "eventToPerkMap": {}}, {}).event_to_perk_map
