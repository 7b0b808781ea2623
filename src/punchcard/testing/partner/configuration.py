"""The destination that tests configure, a Perkville, in the forms that the product takes: file, document and value."""

from collections.abc import Mapping

from punchcard.testing.product import WRITE_KEY

SLUG = "perkville"
"""The slug and the type of the destination."""

PARTNER_PATH = "/partner/perkville"
SETTINGS: Mapping[str, object] = {
    "apiKey": "k",
    "businessId": "41",
    "locationId": "7",
    "sendEmail": False,
    "eventToPerkMap": {},
}
FORWARDED_SETTINGS: Mapping[str, object] = {
    "businessId": "41",
    "locationId": "7",
    "sendEmail": False,
    "eventToPerkMap": {"Checked In": "123457", "Order Completed": "123456"},
}
EVENT_TO_PERK_MAP = {
    "Order Completed": "123456",
    "Order Refunded": "123456",
    "Checked In": "123457",
}
DESTINATION = """
[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "till"]
[destinations.settings]
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456" }
[destinations.options]
apiBaseUrl = "http://127.0.0.1:1"
requestsPerSecond = 0
"""
"""One destination of a config file, with two sources."""

WEBSITE_DESTINATION = """
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "a-token-of-acme-1234"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456" }
"""
"""One destination of a config file, with the source `website`."""

FILTERED_DESTINATION = """
[[destinations]]
slug = "{slug}"
type = "perkville"
sources = ["website", "pos"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Order Completed" = "123456", "Order Refunded" = "123458", "Checked In" = "123457" }}
[[destinations.filters]]
title = "no staff"
if = "properties.staff"
actions = [{{ type = "DROP" }}]
"""
"""One destination of a config file, with a filter; `slug` is filled in."""


def configuration(
    *,
    perkville_url: str,
    options: Mapping[str, object] | None = None,
    event_to_perk_map: Mapping[str, str] = EVENT_TO_PERK_MAP,
    api_key: str = "sandbox-token",
) -> dict[str, object]:
    """Return the content of a config file: one source, one Perkville destination at the sandbox, with short retries."""
    return {
        "workspace": {"name": "Acme Fitness", "timezone": "America/Los_Angeles"},
        "sources": [{"slug": "website", "name": "Website", "write_key": WRITE_KEY}],
        "destinations": [
            {
                "slug": "perkville",
                "type": "perkville",
                "source": "website",
                "settings": {
                    "apiKey": api_key,
                    "businessId": "41",
                    "locationId": "7",
                    "sendEmail": False,
                    "eventToPerkMap": dict(event_to_perk_map),
                },
                "options": {
                    "apiBaseUrl": perkville_url,
                    "requestsPerSecond": 0,
                    "retryBaseSeconds": 0.2,
                    "unknownWaitSeconds": 0.5,
                    **(options or {}),
                },
            }
        ],
    }
