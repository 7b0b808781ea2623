"""How much each bench does: the full size gives figures, the tiny size shows that the bench still runs."""

import os

TINY = "BENCH_TINY"  # an environment variable, so that processes of a bench see it too


def size(full: int, tiny: int) -> int:
    """Return the full size, or the tiny one under `python -m bench --tiny`."""
    return tiny if os.environ.get(TINY) else full
