"""Settings, assembly and processes. The only place where objects are wired together."""

import gc
import sys

# Imports make no garbage. At Python's default of 700, searching for it is a sixth of what a process does until it is
# ready; `garbage_collection` says how a process goes on.
gc.set_threshold(50_000, 20, 100)

if "rich" not in sys.modules and "structlog" not in sys.modules:
    # structlog imports rich where it is installed, for tracebacks that `logs` leaves out. That is a tenth of what a
    # process imports, and 8 MB. A name without a module cannot be imported, which structlog takes for "not installed".
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
