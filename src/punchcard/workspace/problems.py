"""Problems of a configuration, each with the path of its key. All problems are reported at once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from punchcard.errors import ConfigurationError, PunchcardError

KeyPath = tuple[str | int, ...]
"""Path of a value: `("destinations", "points", "settings", "apiKey")`. An entry of a list is named by its slug, or by
its index if it has no unique slug."""

IS_MISSING = "Is missing."
"""Message about a key that must be there."""

UNKNOWN_KEY = "Unknown key."
"""First words of the message about a key that the table does not have; a suggestion follows."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem.

    Attributes:
        path: Path of the invalid value, empty for the whole configuration.
        message: Sentence that says what is wrong and what is expected.
    """

    path: KeyPath
    message: str

    def __str__(self) -> str:
        """Return the path and the message as one line."""
        text = f"{render_path(self.path)}: {self.message}" if self.path else self.message
        return " ".join(text.splitlines())  # a value that the message repeats may have several lines


def render_path(path: KeyPath) -> str:
    """Return the path in TOML notation: `destinations.points.settings.eventMap."Checked In"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        key = part if _BARE_KEY.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
        text += f".{key}" if text else key
    return text


def format_error(error: Exception) -> str:
    """Return the message of an error on one line; for errors that are not Punchcard's own, with its type."""
    text = str(error) if isinstance(error, PunchcardError) else f"{type(error).__name__}: {error}"
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise an error if there are problems, with one line for each.

    Raises:
        ConfigurationError: There are problems; the context has them as `problems`.
    """
    if problems:
        raise ConfigurationError("\n".join(str(problem) for problem in problems), problems=tuple(problems))
