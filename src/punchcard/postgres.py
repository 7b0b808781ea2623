"""Sessions of PostgreSQL for all that is stored there: a machine that vanishes is noticed, and a commit is durable."""

import re
import select
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psycopg  # slow to import, and seldom needed

# Of the client's side: a server that is cut off is noticed after half a minute.
_PARAMETERS: Final = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "target_session_attrs": "read-write",  # after a failover, not the server that is left behind
    "fallback_application_name": "punchcard",
}

LOCK_SECONDS: Final = 45
"""How long a statement waits for a lock: longer than the server leaves one to a process of ours that is frozen."""

STATEMENT_SECONDS_MIN: Final = 60
"""What a time limit for statements that an operator has set for all is raised to: above all of ours."""

SESSION: Final = (
    # A session that somebody left in a transaction may keep its locks for days: that must be seen, not waited for.
    f"SET lock_timeout = '{LOCK_SECONDS}s'",
    # Of the server's side: otherwise the locks of a machine that lost its power would stay for two hours.
    "SET tcp_keepalives_idle = '10s'",
    "SET tcp_keepalives_interval = '5s'",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = '20s'",
    # The server's default may be to acknowledge a commit before it is written. Nothing here can do with that.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    # Units of work lock what they decide about, then read what others have committed meanwhile. Under a stricter level
    # they would end with an error whenever another one was faster.
    "SET default_transaction_isolation = 'read committed'",
    # A batch that takes longer than a statement may would be repeated for ever.
    f"SELECT set_config('statement_timeout', '{STATEMENT_SECONDS_MIN}s', false) "
    "WHERE current_setting('statement_timeout')::interval "
    f"BETWEEN interval '1 millisecond' AND interval '{STATEMENT_SECONDS_MIN} seconds'",
)
"""Statements for each new session."""


_READER_WAITS: Final = 10  # a tenth of a second each: statements of ours are done by then, a backup is not
_HAS_OLDER_READER: Final = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
          AND backend_xmin IS NOT NULL AND xact_start < '{began}'
)
"""

LOG_APPLICATION: Final = "punchcard event log"
"""The application name of the event log's sessions, unless its URL gives another one."""

END_FROZEN_SESSIONS: Final = f"""
SELECT count(pg_terminate_backend(frozen.pid))
FROM (
    SELECT DISTINCT unnest(pg_blocking_pids(waiting.pid)) AS pid
    FROM pg_stat_activity AS waiting
    WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
) AS blocking
JOIN pg_stat_activity AS frozen ON frozen.pid = blocking.pid
WHERE frozen.datname = current_database()
    AND frozen.usename = current_user
    AND frozen.application_name IN (current_setting('application_name'), '{LOG_APPLICATION}')
    AND frozen.state IN ('active', 'idle in transaction')
    AND frozen.wait_event_type = 'Client'
    AND (frozen.wait_event = 'ClientRead' OR frozen.backend_xid IS NOT NULL)
    AND frozen.query_start < clock_timestamp() - make_interval(secs => :seconds)
    AND frozen.state_change < clock_timestamp() - make_interval(secs => :seconds / 4)
"""
"""Ends sessions of ours that keep locks others wait for, if their process has sent no statement for `seconds`.

The server itself ends one that is idle in a transaction, with two exceptions. To one that is frozen within a message or
a pipeline, it applies no time-out. And the Flush that psycopg sends at the end of a pipeline, behind its Sync, turns
the time-out off until the next statement. A session that has waited for a lock itself may be idle for a quarter of that
time only: otherwise several of a process that is frozen would keep the others waiting one after the other.
"""

# Only a table that grows needs room: most statements change pages that are there. A temporary one disturbs nobody, and
# must be on the disk of the others. A megabyte: more than a batch of appends needs.
_MAY_PROVE_ROOM: Final = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"
_PROVE_ROOM: Final = (
    "SET LOCAL temp_tablespaces = ''",
    "CREATE TEMPORARY TABLE punchcard_room ON COMMIT DROP AS SELECT generate_series(1, 30000)",
)

LOCKED_STATE: Final = "55P03"
"""The SQLSTATE of a statement that has waited for a lock for too long."""

# SQLSTATEs of settings that no retry corrects: class 28 (authorization), 42501 (privileges), 3D000 (unknown database),
# and 3F000 (unknown schema, where the URL or the user sets a search_path).
_REFUSED_STATES: Final = ("28", "42501", "3D000", "3F000")
# A server that refuses a new connection gives libpq no state, only words. In another language than English they are
# not recognized: then a process waits and shows them.
_REFUSED_TEXT: Final = re.compile(
    r"authentication failed|no password supplied|pg_hba\.conf|(?:role|database) \S+ does not exist"
    r"|is not permitted to log in|permission denied for|certificate verify failed|server does not support SSL"
    r"|root certificate file|server certificate for"
)

# The words of psycopg and libpq for a server that they do not reach, and what libpq says twice or asks people.
_UNREACHABLE: Final = re.compile(r"connection (?:failed|timeout)|failed to resolve host")
_SUPERFLUOUS: Final = re.compile(
    r"^connection failed: (?=connection to server)|\s*Is the server running .* accepting .*connections\?"
)


def await_older_readers(query: Callable[[str], Any]) -> bool:
    """Wait until nobody reads what was deleted before this call; False if somebody still does.

    VACUUM leaves the old versions of rows that a transaction may read, such as that of a backup with pg_dump. The
    server shows transactions of other roles only to a role with pg_read_all_stats.

    Args:
        query: Returns the value that a statement selects, outside of a transaction.
    """
    began = query("SELECT clock_timestamp()::text")
    for _ in range(_READER_WAITS):
        if not query(_HAS_OLDER_READER.format(began=began)):
            return True
        query("SELECT pg_sleep(0.1)")
    return False


def is_settings_fault(error: object) -> bool:
    """Return whether PostgreSQL refuses what the URL says, and would refuse it again: user, password, database, TLS.

    Args:
        error: As psycopg raises it.
    """
    if state := getattr(error, "sqlstate", None):
        return str(state).startswith(_REFUSED_STATES)
    return _REFUSED_TEXT.search(str(error)) is not None


def message_of(error: object) -> str:
    """Return the message of an error in one line; libpq writes several."""
    return _SUPERFLUOUS.sub("", " ".join(str(error).split()))


def unreachable_remedy(error: object, setting: str) -> str:
    """Return the sentence that follows the message of an error if the server was not reached, with a blank before it.

    Args:
        error: As psycopg raises it.
        setting: The variable with the URL.
    """
    if getattr(error, "sqlstate", None) or not _UNREACHABLE.search(str(error)):
        return ""
    return f". Check that the server runs, and {setting}."


def prove_room(execute: Callable[[str], Any]) -> None:
    """Raise the error of a full disk of the server now, if this user may create temporary tables.

    Args:
        execute: Executes a statement in a transaction, and returns a cursor.
    """
    if execute(_MAY_PROVE_ROOM).fetchone()[0]:
        for statement in _PROVE_ROOM:
            execute(statement)


def connection_parameters(given: Collection[str]) -> dict[str, Any]:
    """Return the parameters of a connection that its URL does not give.

    Args:
        given: The names of those in the URL.
    """
    return {name: value for name, value in _PARAMETERS.items() if name not in given}


def has_ended(connection: "psycopg.Connection[Any]") -> bool:
    """Return whether the server has ended an idle connection: nothing that is sent now would be performed.

    Found out here, a restart of the server costs no request. Found out by a statement, it would be unknown whether the
    statement was performed. And no message is sent for it.
    """
    import psycopg

    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    # The server says why before it ends the connection: that is read first, and the end behind it.
    while poll.poll(0):
        try:
            connection.pgconn.consume_input()
            connection.pgconn.is_busy()  # takes what was read apart, so that there is room for more
        except psycopg.Error:
            return True
        if connection.pgconn.status != psycopg.pq.ConnStatus.OK:
            return True
    return False
