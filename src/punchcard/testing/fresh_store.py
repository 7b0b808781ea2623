"""A store and facts with all their tables, copied from a template: creating them costs more than most tests."""

import functools
import tempfile
from pathlib import Path

from sqlalchemy import make_url

from punchcard.engage.fact_store import FactStore
from punchcard.store.engine import Store


def with_tables(url: str) -> str:
    """Create all tables of the store in a SQLite file that does not exist yet; return the URL unchanged.

    A PostgreSQL store and an existing file are not changed.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        file = Path(parsed.database)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_file_with_tables())
    return url


def facts_with_tables(path: Path) -> Path:
    """Create all tables of Engage's facts in a file that does not exist yet; return the path unchanged."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_facts_with_tables())
    return path


@functools.cache
def _facts_with_tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "engage.duckdb"
        FactStore(file).close()
        assert not Path(f"{file}.wal").exists()
        return file.read_bytes()


@functools.cache
def _file_with_tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store.db"
        Store(f"sqlite:///{file}").close()
        # Closing the last connection has moved everything from the write-ahead log into the file.
        assert not Path(f"{file}-wal").exists()
        return file.read_bytes()
