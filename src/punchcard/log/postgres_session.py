"""Connections of the event log to PostgreSQL: time-outs, what a lost one costs, and where a URL leads."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from punchcard.log.postgres_schema import CHANNEL
from punchcard.postgres import LOG_APPLICATION, SESSION, connection_parameters, has_ended

# A statement that waits longer has a problem: the end of the log is locked by somebody who should not lock it.
_STATEMENT_SECONDS = 10


class PostgresSession:
    """A connection, opened when it is first used and again after it was lost.

    Attributes:
        lock: To be held while the session is used.
        is_new: True from the moment it connects, until its user resets it.
        was_lost: Whether the last use failed because the server ended the connection.
    """

    def __init__(self, parameters: Mapping[str, Any], *, listens: bool = False) -> None:
        self.lock = threading.Lock()
        self.is_new = False
        self.was_lost = False
        self._parameters = parameters
        self._listens = listens
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """Return the connection; a new one if there is none, or if the server has ended it meanwhile."""
        if self._connection is not None and has_ended(self._connection):
            self.close()
        if self._connection is None:
            connection = psycopg.connect(**self._parameters, autocommit=True)
            self._connection = connection
            for statement in SESSION:
                connection.execute(statement)
            connection.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            connection.execute(f"SET idle_in_transaction_session_timeout = '{_STATEMENT_SECONDS}s'")
            connection.execute("SET client_encoding = 'UTF8'")
            if self._listens:
                connection.execute(f"LISTEN {CHANNEL}")
            self.is_new = True
        return self._connection

    def is_lost(self) -> bool:
        """Return whether the connection exists and cannot be used any more."""
        return self._connection is not None and self._connection.closed

    def drain(self) -> None:
        """Take the notifications that have arrived."""
        if self._connection is None:
            return
        with suppress(psycopg.Error):  # a lost connection is noticed by who uses it
            for _ in self._connection.notifies(timeout=0):
                pass

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def read_parameters(url: str) -> dict[str, Any]:
    """Return the parameters of a URL, and of ours those that it does not give.

    Raises:
        psycopg.Error: The URL cannot be parsed.
    """
    given = conninfo_to_dict(url)
    return {"application_name": LOG_APPLICATION, **connection_parameters(given), **given}


def describe_url(url: str) -> str:
    """Return where a PostgreSQL URL leads, without user and password."""
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:
        return "postgresql"
    host, port = parameters.get("host", "localhost"), parameters.get("port")
    return f"postgresql://{host}{f':{port}' if port else ''}/{parameters.get('dbname', '')}"
