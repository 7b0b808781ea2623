"""What to do when the file of a SQLite store cannot be used."""

import errno
import os
import sqlite3
from typing import Final

# Reading writes too: it takes locks.
_NOT_WRITABLE: Final = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


def file_remedy(cause: object, path: str | None) -> str:
    """Return the sentence that follows the message of an error of SQLite, with a blank before it; "" for none."""
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CANTOPEN and not _has_descriptor_left():
        return ". Too many files are open: raise this process's limit (`LimitNOFILE=` of systemd, `ulimit -n`)."
    if code in _NOT_WRITABLE:
        return f". This user must be able to write {path} and its folder: run this as the user that runs Punchcard."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f". Another process keeps {path} locked: end that one, or try again."
    return f". Free space on the disk of {path}." if code == sqlite3.SQLITE_FULL else ""


def _has_descriptor_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True
