"""Settings, assembly and processes. The only place where objects are wired together."""

import sys

if "rich" not in sys.modules and "structlog" not in sys.modules:
    # structlog imports rich where it is installed, for tracebacks that `logs` leaves out. That is a tenth of what a
    # process imports, and 8 MB. A name without a module cannot be imported, which structlog takes for "not installed".
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
