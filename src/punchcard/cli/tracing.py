"""The implementation of `trace`."""

import sys

from rich.console import Console

from punchcard.cli.trace_text import print_text
from punchcard.errors import PunchcardError
from punchcard.runtime.assembly import open_reading
from punchcard.runtime.settings import Settings
from punchcard.traces.trace import EventTrace


def print_trace(message_id: str, settings: Settings, *, as_json: bool) -> int:
    """Print the trace of an event; return 0.

    Raises:
        PunchcardError: No such event was received.
        StorageError: The log, the lake or the store is unavailable.
    """
    with open_reading(settings) as reading:
        trace = reading.trace(message_id)
    if trace is None:
        raise PunchcardError(
            f"No event with the message id {message_id!r} was received here (data: {_data_location(settings)}). "
            "Check the id, and the URL and write key that its sender uses.",
            code="event_unknown",
        )
    if as_json:
        _print_json(trace)
    else:
        print_text(trace, Console(highlight=False, soft_wrap=True))
    return 0


def _print_json(trace: EventTrace) -> None:
    import msgspec

    from punchcard.api.bodies import event_trace

    sys.stdout.buffer.write(msgspec.json.encode({"data": event_trace(trace)}) + b"\n")


def _data_location(settings: Settings) -> str:
    return "PUNCHCARD_DATABASE_URL" if settings.database_url else str(settings.data)
