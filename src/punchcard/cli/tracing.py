"""`trace`: one event's whole story."""

import sys

from rich.console import Console

from punchcard.cli.story_text import print_text
from punchcard.errors import PunchcardError
from punchcard.runtime.assemble import open_reading
from punchcard.runtime.settings import Settings
from punchcard.traces.story import EventStory


def print_story(message_id: str, settings: Settings, *, as_json: bool) -> int:
    """Print the story of an event; 0.

    Raises:
        PunchcardError: no such event was received.
        StorageError: log, lake or store is away.
    """
    with open_reading(settings) as reading:
        story = reading.story(message_id)
    if story is None:
        raise PunchcardError(
            f"no event with the message id {message_id!r} was received here (data: {_place(settings)}); "
            "look at the id, and at the address and write key that its sender uses",
            code="event_unknown",
        )
    if as_json:
        _print_json(story)
    else:
        print_text(story, Console(highlight=False, soft_wrap=True))
    return 0


def _print_json(story: EventStory) -> None:
    import msgspec

    from punchcard.api.bodies import event_trace

    sys.stdout.buffer.write(msgspec.json.encode({"data": event_trace(story)}) + b"\n")


def _place(settings: Settings) -> str:
    return "PUNCHCARD_DATABASE_URL" if settings.database_url else str(settings.data)
