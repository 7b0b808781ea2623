"""The key of a computed trait or audience: its name in snake_case, as in payloads and on profiles."""

import re

_OTHERS = re.compile(r"[^a-z0-9]+")
KEY = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
KEY_CHARACTERS_MAX = 128


def key_of(name: str) -> str:
    """`Order Completed Last 30days` → `order_completed_last_30days`; "" if no character is allowed in a key.

    Source: Segment's examples; the exact rule is not published.
    """
    return _OTHERS.sub("_", name.lower()).strip("_")[:KEY_CHARACTERS_MAX].strip("_")
