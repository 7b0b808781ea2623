"""The newest requests to the Tracking API that were answered with 4xx; few for each source: nobody fills the disk."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from punchcard.store.ingest.schema import rejected_requests
from punchcard.store.values import storable

KEPT_PER_SOURCE = 50
KEPT_PER_NETWORK = 10
"""Of requests that belong to no source: nobody's noise pushes out what others sent."""

_CHARACTERS_MAX = {"path": 128, "reason": 64, "message": 500, "network": 64, "user_agent": 200, "library": 128}


@dataclass(frozen=True, kw_only=True)
class RejectedRequest:
    """A request that was answered with 4xx; nothing of it was taken.

    Attributes:
        source: Slug, "" if no source has the write key, or there was none.
        status: Of the response.
        reason: The response's code.
        message: The response's message.
        network: Of the sender's address: the first 24 bits of IPv4, the first 48 of IPv6; "" if unknown.
        library: Name and version of `context.library`, "" if not seen.
        body_bytes: How many bytes of the body were read.
        body_start: The first of them, with keys, emails and tokens masked.
    """

    source: str
    received_at: datetime
    path: str
    status: int
    reason: str
    message: str
    network: str
    user_agent: str
    library: str
    body_bytes: int
    body_start: str


def add_rejected_requests(work: Connection, requests: Sequence[RejectedRequest]) -> None:
    """Add the requests, oldest first, and forget those beyond the newest of each source."""
    if not requests:
        return
    rows = [_row(request) for request in requests]
    work.execute(rejected_requests.insert(), rows)
    for source in sorted({request.source for request in requests}):
        if not source:
            for network in sorted({request.network for request in requests if not request.source}):
                _forget_old(work, source, KEPT_PER_NETWORK, network)
        _forget_old(work, source, KEPT_PER_SOURCE)


def read_rejected_requests(work: Connection, source: str) -> list[RejectedRequest]:
    """Return the newest rejected requests of a source ("": of none), newest first."""
    columns = [rejected_requests.c[name] for name in RejectedRequest.__dataclass_fields__]
    rows = work.execute(
        select(*columns)
        .where(rejected_requests.c.source == source)
        .order_by(rejected_requests.c.id.desc())
        .limit(KEPT_PER_SOURCE)
    )
    return [RejectedRequest(**row._mapping) for row in rows]


def count_rejected_requests(work: Connection, *, since: datetime) -> dict[str, int]:
    """Return how many of the stored ones each source has ("": of none)."""
    columns = rejected_requests.c
    rows = work.execute(
        select(columns.source, func.count()).where(columns.received_at >= since).group_by(columns.source)
    )
    return {source: int(number) for source, number in rows}


def _row(request: RejectedRequest) -> dict[str, object]:
    row = asdict(request)
    for name, characters_max in _CHARACTERS_MAX.items():
        row[name] = storable(row[name][:characters_max])
    return {**row, "body_start": storable(request.body_start)}


def _forget_old(work: Connection, source: str, retained: int, network: str | None = None) -> None:
    columns = rejected_requests.c
    where = [columns.source == source, *([] if network is None else [columns.network == network])]
    # The newest that is not kept, and all before it.
    oldest = work.scalar(select(columns.id).where(*where).order_by(columns.id.desc()).offset(retained).limit(1))
    if oldest is not None:
        work.execute(delete(rejected_requests).where(*where, columns.id <= oldest))
