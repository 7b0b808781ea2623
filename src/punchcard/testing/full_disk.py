"""A disk without room, for tests."""

from contextlib import suppress
from pathlib import Path

_PIECE = bytes(4096)


def fill(ballast: Path) -> None:
    """Let a file grow until its disk has no room for more; remove it to make room again."""
    with ballast.open("ab", buffering=0) as filling, suppress(OSError):
        while True:
            filling.write(_PIECE)
