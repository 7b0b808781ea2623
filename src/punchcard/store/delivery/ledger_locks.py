"""Locks on parts of the ledger, for routers that decide at the same time what is new in it."""

import hashlib
from collections.abc import Collection
from typing import Final

from sqlalchemy import BigInteger, Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

# PostgreSQL has room for some thousand locks of all sessions. A unit of work with more names takes the whole ledger.
_NAMES_MAX: Final = 400
_WHOLE_LEDGER: Final = int.from_bytes(hashlib.sha256(b"ledger").digest()[:8], signed=True)
_LOCK = text(
    "SELECT pg_advisory_xact_lock(key) FROM (SELECT key FROM unnest(:keys) AS key ORDER BY key) AS ordered"
).bindparams(bindparam("keys", type_=ARRAY(BigInteger)))
_LOCK_WHOLE = text("SELECT pg_advisory_xact_lock(:key)")
_SHARE_WHOLE = text("SELECT pg_advisory_xact_lock_shared(:key)")


def lock_ledger(work: Connection, names: Collection[str]) -> None:
    """Wait until nobody else decides about these names, and keep them until the unit of work ends.

    The unique index on effect keys is the last line of defence, but one order or message may have several keys. In
    PostgreSQL; a store in SQLite has one writer at a time.
    """
    if not names or work.dialect.name != "postgresql":
        return
    if len(names) > _NAMES_MAX:
        work.execute(_LOCK_WHOLE, {"key": _WHOLE_LEDGER})
        return
    work.execute(_SHARE_WHOLE, {"key": _WHOLE_LEDGER})
    digests = (hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest() for name in names)
    work.execute(_LOCK, {"keys": [int.from_bytes(digest, signed=True) for digest in digests]})
