"""How many files and connections this process may have open: 1,024 on many systems, unless a process asks for more."""

import resource
from contextlib import suppress


def raise_descriptor_limit(needed: int) -> int | None:
    """Let this process have as many descriptors as it needs, or as many as the system lets it have.

    Returns:
        The limit that applies now, None if there is none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        with suppress(OSError, ValueError):  # some systems enforce a lower limit than they report
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return None if soft == resource.RLIM_INFINITY else soft
