"""The columns that are read from within an event: its email and the members that e-commerce events have."""

from typing import Any, Final

import structlog

from punchcard.events.commerce import Commerce, commerce_of, usual_commerce
from punchcard.events.emails import email_of, trimmed_email
from punchcard.events.model import Event, EventType
from punchcard.events.usual_properties import UsualPropertiesReader

_log = structlog.get_logger("punchcard.lake")

EXTRACTED: Final = ("email", *Commerce._fields)
"""The columns in the order of `extract_columns`."""

NOTHING_EXTRACTED: Final = (None,) * len(EXTRACTED)

_NO_COMMERCE: Final = NOTHING_EXTRACTED[1:]
_TRACK: Final = EventType.TRACK
_reader: Final = UsualPropertiesReader()


def extract_columns(event: Event) -> tuple[Any, ...]:
    """Return the columns `EXTRACTED`; empty if reading them fails, because the row must not be lost.

    Amounts may have more places than the lake keeps.
    """
    try:
        wire = event.wire
        properties = wire.properties
        usual = _reader.read(properties) if properties else None
        if usual is None:
            return email_of(event), *commerce_of(event)
        email = trimmed_email(usual.email) if usual.email and not wire.email else None
        commerce = usual_commerce(usual) if event.type is _TRACK else _NO_COMMERCE
        return email or email_of(event), *(commerce or commerce_of(event))
    except Exception as error:  # noqa: BLE001  # an event that our code fails on still gets its row
        _log.warning("lake_columns_left_empty", message_id=event.message_id, error=repr(error))
        return NOTHING_EXTRACTED
