"""Instants in bodies of the Public API."""

from datetime import UTC, datetime

from punchcard.api.errors import bad_request


def read_instant(text: str | None, field: str) -> datetime | None:
    """Return the instant that a member of a body names, None if it is left out.

    Raises:
        HTTPException: it names none.
    """
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise bad_request(f"{field} is a time in ISO-8601 with an offset, such as 2026-11-30T08:00:00Z", field)
    return instant.astimezone(UTC)
