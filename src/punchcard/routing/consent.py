"""What an end user has agreed to, as the event states it in `context.consent.categoryPreferences`.

Source: Segment's documentation, "Consent in Segment Connections". A destination that belongs to categories gets an
event only if all of them are true; one that belongs to none gets every event; an event without the object is not held
back.
"""

from collections.abc import Sequence

import msgspec

from punchcard.events.faults import UNREADABLE


class _Consent(msgspec.Struct, rename="camel"):
    category_preferences: dict[str, bool] | None = None


class _Context(msgspec.Struct):
    consent: _Consent | None = None


_decoder = msgspec.json.Decoder(_Context)


def is_stated(context: bytes | msgspec.Raw) -> bool:
    """False if the context surely states no consent. Cheap."""
    return b"consent" in bytes(context) or b"\\" in bytes(context)


def missing_consent(context: bytes | msgspec.Raw, categories: Sequence[str]) -> str | None:
    """The first of the categories that the end user has not agreed to; None if nothing holds the event back.

    Args:
        context: The JSON text of the event's `context`, empty if it has none.
        categories: Those of a destination.
    """
    if not categories or not context:
        return None
    try:
        consent = _decoder.decode(context).consent
    except UNREADABLE:
        # What states consent in a way that nobody can read has not been agreed to.
        return categories[0] if is_stated(context) else None
    if consent is None:
        return None
    given = consent.category_preferences or {}
    return next((category for category in categories if not given.get(category, False)), None)
