"""What is wrong with a configuration: all of it at once, each with the path of its key."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from punchcard.errors import ConfigurationError, PunchcardError

KeyPath = tuple[str | int, ...]
"""Where a value stands: `("destinations", "points", "settings", "apiKey")`. An entry of a list is named by its
slug, or by its index if it has no slug of its own."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: The key it is about, empty for the whole.
        message: What is wrong and what is expected, to be read behind the path.
    """

    path: KeyPath
    message: str

    def __str__(self) -> str:
        """The path and the message as one line."""
        return f"{render_path(self.path)}: {self.message}" if self.path else self.message


def render_path(path: KeyPath) -> str:
    """The path as people write it: `destinations.points.settings.eventMap."Checked In"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        shown = part if _BARE_KEY.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
        text += f".{shown}" if text else shown
    return text


def format_error(error: Exception) -> str:
    """What an error says, on one line; of one that is not Punchcard's own, its type too."""
    text = str(error) if isinstance(error, PunchcardError) else f"{type(error).__name__}: {error}"
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise what is wrong, one line each; nothing if nothing is.

    Raises:
        ConfigurationError: there are problems; its context has them as `problems`.
    """
    if problems:
        raise ConfigurationError("\n".join(str(problem) for problem in problems), problems=tuple(problems))
