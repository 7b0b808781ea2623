"""Sessions of PostgreSQL for all that is stored there: a machine that vanishes is noticed, and a commit is durable."""

from collections.abc import Collection
from typing import Any, Final

# Of the client's side: a server that is cut off is noticed after half a minute.
_PARAMETERS: Final = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "target_session_attrs": "read-write",  # after a failover, not the server that is left behind
}

SESSION: Final = (
    # Of the server's side: otherwise the locks of a machine that lost its power would stay for two hours.
    "SET tcp_keepalives_idle = '10s'",
    "SET tcp_keepalives_interval = '5s'",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = '20s'",
    # The server's default may be to acknowledge a commit before it is written. Nothing here can do with that.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)
"""Statements for each new session."""


def connection_parameters(given: Collection[str]) -> dict[str, Any]:
    """Return the parameters of a connection that its URL does not give.

    Args:
        given: The names of those in the URL.
    """
    return {name: value for name, value in _PARAMETERS.items() if name not in given}
