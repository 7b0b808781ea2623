"""Locks on parts of the ledger, for routers that decide at the same time what is new in it."""

import hashlib
from collections.abc import Collection
from typing import Final

from sqlalchemy import ARRAY, BigInteger, Connection, bindparam, func, select

from punchcard.store.bulk import PreparedStatement, pipelined

# PostgreSQL has room for some thousand locks of all sessions. A unit of work with more names takes the whole ledger.
_NAMES_MAX: Final = 400
_WHOLE_LEDGER: Final = int.from_bytes(hashlib.sha256(b"ledger").digest()[:8], signed=True)
_KEYS = func.unnest(bindparam("b_keys", type_=ARRAY(BigInteger))).table_valued("key").render_derived(name="keys")
_ORDERED = select(_KEYS.c.key).order_by(_KEYS.c.key).subquery("ordered")
_LOCK = PreparedStatement(select(func.pg_advisory_xact_lock(_ORDERED.c.key).label("locked")))
_WHOLE = bindparam("b_key", type_=BigInteger)
_LOCK_WHOLE = PreparedStatement(select(func.pg_advisory_xact_lock(_WHOLE).label("locked")))
_SHARE_WHOLE = PreparedStatement(select(func.pg_advisory_xact_lock_shared(_WHOLE).label("locked")))


def lock_ledger(work: Connection, names: Collection[str]) -> None:
    """Wait until nobody else decides about these names, and keep them until the unit of work ends.

    The unique index on effect keys is the last line of defence, but one order or message may have several keys. In
    PostgreSQL; a store in SQLite has one writer at a time.
    """
    if not names or work.dialect.name != "postgresql":
        return
    if len(names) > _NAMES_MAX:
        _LOCK_WHOLE.rows(work, {"b_key": _WHOLE_LEDGER})
        return
    digests = (hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest() for name in names)
    with pipelined(work):  # in this order
        _SHARE_WHOLE.request(work, {"b_key": _WHOLE_LEDGER})
        _LOCK.request(work, {"b_keys": [int.from_bytes(digest, signed=True) for digest in digests]})
