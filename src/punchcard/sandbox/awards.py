"""The rules of a transaction: who may get which perk where, how many points, and never twice."""

import sqlite3
from dataclasses import replace
from datetime import datetime, time
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from punchcard.clock import Clock, to_micros
from punchcard.sandbox.database import Database
from punchcard.sandbox.error_bodies import WHOLE_REQUEST, FieldError, invalid, refusal
from punchcard.sandbox.faults import Faults
from punchcard.sandbox.orders import Order, read_order
from punchcard.sandbox.resources import RESOURCES
from punchcard.sandbox.web import SandboxResponse, json_response


def post_transaction(database: Database, clock: Clock, *, faults: Faults, body: bytes) -> SandboxResponse:
    """Respond to `POST /v2/transactions/`: 201 with the stored transaction, or why it was refused.

    Raises:
        StorageError: It cannot be stored now.
    """
    order = read_order(body)
    if isinstance(order, list):
        return invalid(*order)
    with database.unit_of_work():
        if (forbidden := _check_staffed(database, order)) is not None:
            return forbidden
        order = _rounded(order, faults)
        problems = _check(database, clock, order=order, faults=faults)
        if problems:
            return invalid(*problems)
        original = None if faults.accepts_duplicates else _find_duplicate(database, order)
        if original is not None:
            return _duplicate_response(database, original, order=order, status=faults.duplicate_status)
        transaction_id = _store(database, order, now_us=to_micros(clock.now()))
    return json_response(201, RESOURCES["transactions"].find(database, transaction_id))


def void_transaction(database: Database, clock: Clock, *, transaction_id: int) -> bool:
    """Void a transaction as staff do: it becomes VOID, and a VOID_REF of the opposite quantity offsets it.

    Its `trans_source_id` stays used. Return whether there was such an ACTIVE transaction.
    """
    with database.unit_of_work():
        row = database.row(
            "SELECT * FROM transactions WHERE transaction_id = ? AND status = 'ACTIVE'", (transaction_id,)
        )
        if row is None:
            return False
        now_us = to_micros(clock.now())
        quantity = -Decimal(row["quantity"])
        database.write("UPDATE transactions SET status = 'VOID' WHERE transaction_id = ?", (transaction_id,))
        database.write(
            "INSERT INTO transactions (business_id, location_id, perk_id, user_id, title, classification, points,"
            " quantity, transaction_us, status, send_email) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'VOID_REF', 0)",
            (
                *(row[key] for key in ("business_id", "location_id", "perk_id", "user_id", "title")),
                row["classification"],
                row["points"],
                format(quantity, "f"),
                now_us,
            ),
        )
        connection_id = connection_of(database, row["business_id"], user_id=row["user_id"], now_us=now_us)
        change_balance(database, connection_id, perk=row, quantity=quantity, now_us=now_us)
    return True


def points_total(*, classification: str, points: int, quantity: Decimal) -> Decimal:
    """Return the change of the balance: points per unit times units, negative if the perk is a REDEEM."""
    total = points * quantity
    return -total if classification == "REDEEM" else total


def _check_staffed(database: Database, order: Order) -> SandboxResponse | None:
    row = database.row("SELECT status, is_staffed FROM businesses WHERE business_id = ?", (order.business_id,))
    if row is None:
        return invalid(FieldError("business", f"Business {order.business_id} does not exist", "does_not_exist"))
    if not row["is_staffed"]:
        message = f"The owner of this token does not work at business {order.business_id}"
        return refusal(403, "permission_error", [FieldError("business", message, "permission_denied")])
    if row["status"] != "ACTIVE":
        return invalid(FieldError("business", f"Business {order.business_id} is not active", "not_active"))
    return None


def _rounded(order: Order, faults: Faults) -> Order:
    if faults.fractional != "round":
        return order
    return replace(order, quantity=order.quantity.quantize(Decimal(1), ROUND_HALF_UP))


def _check(database: Database, clock: Clock, *, order: Order, faults: Faults) -> list[FieldError]:
    location = database.row("SELECT * FROM locations WHERE location_id = ?", (order.location_id,))
    perk = database.row("SELECT * FROM perks WHERE perk_id = ?", (order.perk_id,))
    results = [
        _check_location(location, order),
        _check_perk(perk, order),
        _check_quantity(perk, order=order, faults=faults),
        _check_user(database, order),
    ]
    problems = [problem for problem in results if problem is not None]
    if not problems and location is not None and order.limit_to_once_per_calendar_day:
        problems = _check_once_a_day(database, clock, order=order, timezone=location["timezone"])
    return problems


def _check_location(row: sqlite3.Row | None, order: Order) -> FieldError | None:
    name = f"Location {order.location_id}"
    if row is None:
        return FieldError("location", f"{name} does not exist", "does_not_exist")
    if row["business_id"] != order.business_id:
        return FieldError("location", f"{name} does not belong to business {order.business_id}", "wrong_business")
    if row["status"] != "ACTIVE":
        return FieldError("location", f"{name} is not active", "not_active")
    return None


def _check_perk(row: sqlite3.Row | None, order: Order) -> FieldError | None:
    name = f"Perk {order.perk_id}"
    if row is None:
        return FieldError("perk", f"{name} does not exist", "does_not_exist")
    if row["business_id"] != order.business_id:
        return FieldError("perk", f"{name} does not belong to Business {order.business_id}", "wrong_business")
    if row["status"] != "ACTIVE":
        return FieldError("perk", f"{name} is not active", "not_active")
    return None


def _check_quantity(perk: sqlite3.Row | None, *, order: Order, faults: Faults) -> FieldError | None:
    if order.quantity == 0:
        return FieldError("quantity", "quantity must not be zero", "zero_quantity")
    if order.quantity < 0 and faults.negative == "refuse":
        return FieldError("quantity", "quantity must be positive", "negative_quantity")
    if order.quantity < 0 and perk is not None and perk["classification"] == "REDEEM":
        # A redemption takes points: a negative one would give points.
        return FieldError("quantity", "quantity of a REDEEM perk must be positive", "negative_quantity")
    if faults.fractional == "refuse" and order.quantity != order.quantity.to_integral_value():
        return FieldError("quantity", "quantity must be a whole number", "fractional_quantity")
    return None


def _check_user(database: Database, order: Order) -> FieldError | None:
    if order.user_id is None or database.row("SELECT 1 FROM users WHERE user_id = ?", (order.user_id,)):
        return None
    return FieldError("user", f"User {order.user_id} does not exist", "does_not_exist")


def _check_once_a_day(database: Database, clock: Clock, *, order: Order, timezone: str) -> list[FieldError]:
    zone = ZoneInfo(timezone)
    midnight = datetime.combine(clock.now().astimezone(zone).date(), time(), zone)
    today = database.row(
        "SELECT 1 FROM transactions JOIN users USING (user_id) WHERE (user_id = ? OR email_key = ?) AND perk_id = ?"
        " AND business_id = ? AND status = 'ACTIVE' AND transaction_us >= ?",
        (order.user_id, _email_key(order), order.perk_id, order.business_id, to_micros(midnight)),
    )
    if today is None:
        return []
    message = f"Perk {order.perk_id} was already awarded to this customer today"
    return [FieldError(WHOLE_REQUEST, message, "limit_to_once_per_calendar_day")]


def _find_duplicate(database: Database, order: Order) -> int | None:
    if order.trans_source_id is None:
        return None
    row = database.row(
        "SELECT transaction_id FROM transactions WHERE business_id = ? AND trans_source_id = ? ORDER BY transaction_id",
        (order.business_id, order.trans_source_id),
    )
    return None if row is None else int(row["transaction_id"])


def _duplicate_response(database: Database, original: int, *, order: Order, status: int) -> SandboxResponse:
    if status == 200:
        return json_response(200, RESOURCES["transactions"].find(database, original))
    message = f"A transaction with trans_source_id {order.trans_source_id} already exists"
    return invalid(FieldError("trans_source_id", message, "duplicate_trans_source_id"), status=status)


def _store(database: Database, order: Order, *, now_us: int) -> int:
    perk = database.row("SELECT * FROM perks WHERE perk_id = ?", (order.perk_id,))
    assert perk is not None, "a checked order names a perk that exists"
    user_id = order.user_id or user_of(database, str(order.email), now_us=now_us)
    connection_id = connection_of(database, order.business_id, user_id=user_id, now_us=now_us)
    transaction_id = database.write(
        "INSERT INTO transactions (business_id, location_id, perk_id, user_id, title, classification, points,"
        " quantity, transaction_us, status, trans_source_id, send_email)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'ACTIVE', ?, ?)",
        (
            order.business_id,
            order.location_id,
            order.perk_id,
            user_id,
            perk["title"],
            perk["classification"],
            perk["points"],
            format(order.quantity, "f"),
            now_us,
            order.trans_source_id,
            order.send_email,
        ),
    )
    change_balance(database, connection_id, perk=perk, quantity=order.quantity, now_us=now_us)
    return transaction_id


def _email_key(order: Order) -> str | None:
    return None if order.email is None else order.email.lower()


def user_of(database: Database, email: str, *, now_us: int) -> int:
    """The id of the user with an address, who is made if there is none."""
    row = database.row("SELECT user_id FROM users WHERE email_key = ?", (email.lower(),))
    if row is not None:
        return int(row["user_id"])
    return database.write(
        "INSERT INTO users (email, email_key, last_mod_us) VALUES (?, ?, ?)", (email, email.lower(), now_us)
    )


def connection_of(database: Database, business_id: int, *, user_id: int, now_us: int) -> int:
    """The id of a user's connection to a business, which is made if there is none."""
    row = database.row(
        "SELECT connection_id FROM connections WHERE business_id = ? AND user_id = ?", (business_id, user_id)
    )
    if row is not None:
        return int(row["connection_id"])
    # Customers who have not joined earn points too, on a pending connection.
    return database.write(
        "INSERT INTO connections (business_id, user_id, status, last_mod_us) VALUES (?, ?, 'PENDING', ?)",
        (business_id, user_id, now_us),
    )


def change_balance(
    database: Database, connection_id: int, *, perk: sqlite3.Row, quantity: Decimal, now_us: int
) -> None:
    """Add a transaction's points; `perk` is any row with classification and points. A balance may become negative."""
    total = points_total(classification=perk["classification"], points=perk["points"], quantity=quantity)
    row = database.row(
        "SELECT point_balance, lifetime_earned_points FROM connections WHERE connection_id = ?", (connection_id,)
    )
    assert row is not None, "the connection was found or created in the same unit of work"
    balance = Decimal(row["point_balance"]) + total
    lifetime = Decimal(row["lifetime_earned_points"]) + (total if perk["classification"] == "EARN" else 0)
    database.write(
        "UPDATE connections SET point_balance = ?, lifetime_earned_points = ?, last_transaction_us = ?,"
        " last_mod_us = ? WHERE connection_id = ?",
        (format(balance, "f"), format(lifetime, "f"), now_us, now_us, connection_id),
    )
