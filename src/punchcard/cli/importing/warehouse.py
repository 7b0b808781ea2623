"""Columns of tables that Segment wrote to a warehouse, and their fields in events.

Source: Segment's documentation, "Warehouse schemas": `id` is the message id, `context_*` the flattened context, all
other columns of a track table are properties.
"""

from collections.abc import Collection
from typing import Final

IGNORED: Final = ""

_FIELDS: Final = {
    "id": "messageId",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "group_id": "groupId",
    "previous_id": "previousId",
    "event_text": "event",
    "original_timestamp": "originalTimestamp",
    "sent_at": IGNORED,
    "received_at": IGNORED,
    "loaded_at": IGNORED,
    "uuid": IGNORED,
    "uuid_ts": IGNORED,
}
_CONTEXT_OBJECTS: Final = frozenset(
    ("app", "campaign", "device", "library", "network", "os", "page", "referrer", "screen", "traits")
)
_CAMEL_CASE: Final = {
    "user_agent": "userAgent",
    "group_id": "groupId",
    "advertising_id": "advertisingId",
    "ad_tracking_enabled": "adTrackingEnabled",
}
_CONSENT: Final = "context_consent_category_preferences_"
_TIMES: Final = frozenset({"received_at", "original_timestamp", "sent_at"})


def is_warehouse_table(headings: Collection[str]) -> bool:
    """Return True if the headings are those of a table that Segment wrote to a warehouse."""
    return "id" in headings and not _TIMES.isdisjoint(headings)


def warehouse_field(heading: str, headings: Collection[str]) -> str:
    """Return the field of a column in the notation of headings, "" to ignore the column.

    Args:
        headings: All headings of the table.
    """
    if heading == "event":
        # In a table with `event_text`, this is the table name.
        return IGNORED if "event_text" in headings else heading
    if (
        heading == "received_at"
        and _TIMES.isdisjoint({*headings} - {"received_at", "sent_at"})
        and ("timestamp" not in headings)
    ):
        return "timestamp"
    if heading in _FIELDS:
        return _FIELDS[heading]
    if heading.startswith("_"):
        return IGNORED  # added by loaders of warehouses
    if heading.startswith(_CONSENT):
        return f"context.consent.categoryPreferences.{heading.removeprefix(_CONSENT)}:boolean"
    if heading.startswith("context_consent"):
        return IGNORED
    if heading.startswith("context_"):
        return _context_field(heading.removeprefix("context_"))
    return f"properties.{heading}"


def _context_field(name: str) -> str:
    outer, _, inner = name.partition("_")
    if outer in _CONTEXT_OBJECTS and inner:
        return f"context.{outer}.{_CAMEL_CASE.get(inner, inner)}"
    return f"context.{_CAMEL_CASE.get(name, name)}"
