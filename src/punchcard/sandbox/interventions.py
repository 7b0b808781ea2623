"""What happens to stored transactions behind everybody's back, for tests: a deletion, a correction, a second booking.

Perkville's own API has none of it. Each keeps the balances in order, as if it had always been so.
"""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from punchcard.clock import Clock, to_micros
from punchcard.sandbox.awards import change_balance, connection_of, post_transaction, user_of, void_transaction
from punchcard.sandbox.database import Database
from punchcard.sandbox.error_bodies import FieldError, invalid, method_not_allowed, not_found
from punchcard.sandbox.faults import Faults
from punchcard.sandbox.orders import EMAIL_PATTERN, QUANTITY_PATTERN, read_object
from punchcard.sandbox.resources import RESOURCES, reference_id
from punchcard.sandbox.web import Request, SandboxResponse, json_response

STATUSES = ("ACTIVE", "VOID", "VOID_REF", "PENDING")
_ID_DIGITS_MAX = 18


def intervene(database: Database, clock: Clock, request: Request, *, path: str) -> SandboxResponse:
    """Answer a request about stored transactions.

    Args:
        path: Behind `/sandbox/transactions`.

    Raises:
        StorageError: it cannot be stored now.
    """
    if not path:
        # As booked by anybody, also under a `trans_source_id` that is used.
        return post_transaction(database, clock, faults=Faults(duplicate_answer="accept"), body=request.body)
    number, _, action = path.removeprefix("/").partition("/")
    if not (number.isascii() and number.isdecimal() and len(number) <= _ID_DIGITS_MAX) or action not in {"", "void"}:
        return not_found(request.path)
    transaction_id = int(number)
    if database.row("SELECT 1 FROM transactions WHERE transaction_id = ?", (transaction_id,)) is None:
        return not_found(request.path)
    match request.method, action:
        case "POST", "void":
            if not void_transaction(database, clock, transaction_id=transaction_id):
                return invalid(FieldError("transaction_status", "It is not ACTIVE", "not_active"))
        case "DELETE", "":
            _delete(database, clock, transaction_id)
            return SandboxResponse(204)
        case "PATCH", "":
            problem = _change(database, clock, transaction_id, request.body)
            if problem is not None:
                return invalid(problem)
        case _:
            return method_not_allowed(request.method, ("POST",) if action else ("DELETE", "PATCH"))
    return json_response(200, RESOURCES["transactions"].find(database, transaction_id))


def _delete(database: Database, clock: Clock, transaction_id: int) -> None:
    with database.unit_of_work():
        _count(database, _transaction(database, transaction_id), sign=-1, now_us=to_micros(clock.now()))
        database.write("DELETE FROM transactions WHERE transaction_id = ?", (transaction_id,))


def _change(database: Database, clock: Clock, transaction_id: int, body: bytes) -> FieldError | None:
    """Change the members that the body names; what is wrong with it, else None."""
    members = read_object(body)
    if isinstance(members, FieldError):
        return members
    now_us = to_micros(clock.now())
    with database.unit_of_work():
        row = _transaction(database, transaction_id)
        columns: dict[str, object] = {}
        for key, raw in members.items():
            value = _read(database, key, raw, business_id=row["business_id"], now_us=now_us)
            if isinstance(value, FieldError):
                return value
            columns |= value
        if not columns:
            return None
        _count(database, row, sign=-1, now_us=now_us)
        assignments = ", ".join(f"{column} = ?" for column in columns)
        database.write(
            f"UPDATE transactions SET {assignments} WHERE transaction_id = ?", (*columns.values(), transaction_id)
        )
        _count(database, _transaction(database, transaction_id), sign=1, now_us=now_us)
    return None


def _read(
    database: Database, key: str, raw: msgspec.Raw, *, business_id: int, now_us: int
) -> Mapping[str, object] | FieldError:
    """The columns that a member of the body sets."""
    try:
        text = msgspec.json.decode(raw, type=str | None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = bytes(raw).decode("utf-8", "replace")
    problem = FieldError(key, f"{key} cannot be set to {text!r}", "invalid")
    match key:
        case "quantity" if text is not None and QUANTITY_PATTERN.fullmatch(text):
            return {"quantity": text}
        case "transaction_status" if text in STATUSES:
            return {"status": text}
        case "trans_source_id":
            return {"trans_source_id": text}
        case "transaction_dt" if (micros := _micros(text)) is not None:
            return {"transaction_us": micros}
        case "email" if text is not None and EMAIL_PATTERN.fullmatch(text):
            user_id = user_of(database, text, now_us=now_us)
            connection_of(database, business_id, user_id=user_id, now_us=now_us)
            return {"user_id": user_id}
        case "perk":
            perk = database.row(
                "SELECT * FROM perks WHERE perk_id = ? AND business_id = ?",
                (reference_id("perks", text or ""), business_id),
            )
            if perk is not None:
                return {name: perk[name] for name in ("perk_id", "title", "classification", "points")}
    return problem


def _micros(text: str | None) -> int | None:
    try:
        instant = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return to_micros(instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC))


def _transaction(database: Database, transaction_id: int) -> sqlite3.Row:
    row = database.row("SELECT * FROM transactions WHERE transaction_id = ?", (transaction_id,))
    assert row is not None, "it was found a moment ago, and this thread alone removes any"
    return row


def _count(database: Database, row: sqlite3.Row, *, sign: int, now_us: int) -> None:
    """Add a transaction to its customer's balance, or take it out again. One that is PENDING does not count."""
    if row["status"] == "PENDING":
        return
    connection_id = connection_of(database, row["business_id"], user_id=row["user_id"], now_us=now_us)
    change_balance(database, connection_id, perk=row, quantity=sign * Decimal(row["quantity"]), now_us=now_us)
