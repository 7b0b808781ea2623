"""The order of names with numbers in lists for people."""

import re

_NUMBER = re.compile(r"([0-9]+)")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which "Level 2" comes before "level 10"."""
    parts = _NUMBER.split(name.casefold())  # every second part is a number
    return [(len(part.lstrip("0")) if index % 2 else 0, part) for index, part in enumerate(parts)]
