"""A store with all its tables, copied instead of made anew: making them costs more than most tests that need one."""

import functools
import tempfile
from pathlib import Path

from sqlalchemy import make_url

from punchcard.store.engine import Store


def with_tables(url: str) -> str:
    """Give a SQLite file that does not exist yet all tables of the store; return the URL as it came.

    A store of PostgreSQL, and a file that is there, stay as they are.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        file = Path(parsed.database)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_file_with_tables())
    return url


@functools.cache
def _file_with_tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store.db"
        Store(f"sqlite:///{file}").close()
        # The last connection to close has moved everything from the write-ahead log into the file.
        assert not Path(f"{file}-wal").exists()
        return file.read_bytes()
