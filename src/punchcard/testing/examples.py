"""How many examples long tests run: all of them in CI and in `make soak`, a part in `make test`."""

import os

_VARIABLE = "TEST_EXAMPLES"


def examples(everything: int, *, part: int) -> int:
    """Return the number of examples of a test.

    Args:
        everything: Where TEST_EXAMPLES is `all`.
        part: Otherwise.
    """
    return everything if os.environ.get(_VARIABLE) == "all" else part
