"""The endpoints below `/sandbox/` for tests: enable faults, and read everything that is stored."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec

from punchcard.clock import Clock, from_micros
from punchcard.errors import ConfigurationError
from punchcard.sandbox.awards import points_total
from punchcard.sandbox.database import Database, snapshot
from punchcard.sandbox.faults import FaultInjector, parse_faults
from punchcard.sandbox.interventions import intervene
from punchcard.sandbox.web import Request, SandboxResponse, json_response

PREFIX = "/sandbox/"

_ALL_TRANSACTIONS = """
SELECT transaction_id, business_id, location_id, perk_id, user_id, email, title, classification, points, quantity,
       status, trans_source_id, send_email, transaction_us
FROM transactions JOIN users USING (user_id) ORDER BY transaction_id
"""


class ListedTransaction(msgspec.Struct, frozen=True):
    """A stored transaction with its customer; ids are plain numbers, quantities exact decimals as text."""

    transaction_id: int
    business: int
    location: int
    perk: int
    user: int
    email: str
    title: str
    classification: str
    points: int
    quantity: str
    points_total: str
    transaction_status: str
    trans_source_id: str | None
    send_email: bool
    received_at: str


class TransactionList(msgspec.Struct, frozen=True):
    """All transactions, in the order in which they were stored."""

    count: int
    transactions: list[ListedTransaction]


class ControlApi:
    """Responds to requests below `/sandbox/`."""

    def __init__(self, database: Database, clock: Clock, injector: FaultInjector) -> None:
        self._database = database
        self._clock = clock
        self._injector = injector

    async def response(self, request: Request) -> SandboxResponse:
        """Return the response to a request; a long list is read in another thread, from a snapshot."""
        match request.method, request.path[len(PREFIX) :]:
            case "GET", "transactions":
                body = await asyncio.to_thread(_all_transactions, self._database.path)
                return SandboxResponse(200, body)
            case "GET", "faults":
                return json_response(200, self._injector.faults)
            case "PUT", "faults":
                return self._set_faults(request)
            case "GET", "requests":
                return json_response(200, {"counts": dict(sorted(self._injector.counts.items()))})
            case _, path if path.partition("/")[0] == "transactions" and request.is_write:
                return intervene(self._database, self._clock, request, path=path.removeprefix("transactions"))
        return json_response(404, {"error": f"There is no {request.method} {request.path}"})

    def _set_faults(self, request: Request) -> SandboxResponse:
        try:
            self._injector.set_faults(parse_faults(request.body))
        except ConfigurationError as exc:
            return json_response(400, {"error": exc.message})
        return json_response(200, self._injector.faults)


def _all_transactions(path: Path) -> bytes:
    with snapshot(path) as connection:
        transactions = [_listed(row) for row in connection.execute(_ALL_TRANSACTIONS)]
    return msgspec.json.encode(TransactionList(len(transactions), transactions))


def _listed(row: tuple[object, ...]) -> ListedTransaction:
    (*ids, email, title, classification, points, quantity, status, source_id, send_email, micros) = row
    total = points_total(classification=str(classification), points=int(str(points)), quantity=Decimal(str(quantity)))
    transaction_id, business, location, perk, user = (int(str(id_)) for id_ in ids)
    return ListedTransaction(
        transaction_id=transaction_id,
        business=business,
        location=location,
        perk=perk,
        user=user,
        email=str(email),
        title=str(title),
        classification=str(classification),
        points=int(str(points)),
        quantity=str(quantity),
        points_total=format(total, "f"),
        transaction_status=str(status),
        trans_source_id=None if source_id is None else str(source_id),
        send_email=bool(send_email),
        received_at=from_micros(int(str(micros))).isoformat(timespec="microseconds"),
    )
