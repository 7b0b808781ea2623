"""A reason code with what it means and what to do about it: given by the core and by destinations."""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What does the remedy of a reason: pages show a button or a link, the command line the command."""

    RETRY = "retry"  # put the award back in the queue
    RESUME = "resume"  # let a paused destination deliver, or switch it on
    REPLAY = "replay"  # plan the event again
    MAP = "map"  # map the event
    FILTERS = "filters"  # look at the filters of the destination
    SETTINGS = "settings"  # correct the settings of the destination
    SOURCE = "source"  # look at the source
    PROTOCOLS = "protocols"  # look at what the source does with violations of its tracking plan, and replay the event
    SCHEMA = "schema"  # switch the event on in the schema of its source, and replay it
    TRANSFORMATIONS = "transformations"  # correct the transformations, and replay the event
    RESOLVE_DOUBT = "resolve_doubt"  # say whether the award was performed
    RESOLVE_CONFLICT = "resolve_conflict"  # decide which content counts


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Codes that mean the same; the texts are Markdown, for people."""

    codes: tuple[str, ...]
    means: str
    do: str
    action: Action | None = None


def reason(codes: str, means: str, do: str, *, action: Action | None = None) -> Reason:
    """Return the reason of these codes.

    Args:
        codes: Space-separated.
        means: What happened.
        do: What a person should do about it.
        action: What does it, None if Punchcard has nothing that could.
    """
    return Reason(codes=tuple(codes.split()), means=means, do=do, action=action)
