"""Why a request to Engage has no result."""

from typing import Final

from punchcard.errors import PunchcardError

_CHARACTERS_MAX: Final = 500


def describe_error(error: Exception) -> str:
    """Return what is wrong with a request, for the person who made it; messages of DuckDB may be long."""
    return error.message if isinstance(error, PunchcardError) else str(error)[:_CHARACTERS_MAX]
