"""The pages of customers, balances and transactions."""

import sqlite3

import msgspec

from punchcard.sandbox.awards import void_transaction
from punchcard.sandbox.pages.view import ROWS_PER_PAGE, Pager, View, like, query_field, read_pager, redirect
from punchcard.sandbox.web import Request, SandboxResponse

_CUSTOMERS_FROM = "FROM connections JOIN users USING (user_id)"
_TRANSACTIONS_FROM = "FROM transactions JOIN users USING (user_id)"


def list_customers(view: View, request: Request, _: int) -> SandboxResponse:
    """Show everybody who is connected to the business, most recently changed first; can be searched by email."""
    search = query_field(request, "q")
    where, parameters = ("WHERE email_key LIKE ? ESCAPE '\\'", (like(search.lower()),)) if search else ("", ())
    pager = read_pager(request, view.database.count(f"SELECT count(*) {_CUSTOMERS_FROM} {where}", parameters))
    rows = view.database.rows(
        f"SELECT connections.*, email {_CUSTOMERS_FROM} {where} ORDER BY connections.last_mod_us DESC, connection_id"
        " DESC LIMIT ? OFFSET ?",
        (*parameters, ROWS_PER_PAGE, pager.offset),
    )
    customers = [(row, _attributes(row)) for row in rows]
    return view.page("customers.html", request, customers=customers, search=search, pager=pager)


def show_customer(view: View, request: Request, connection_id: int) -> SandboxResponse:
    """Show a customer with their transactions, newest first."""
    row = view.database.row(f"SELECT connections.*, email {_CUSTOMERS_FROM} WHERE connection_id = ?", (connection_id,))
    if row is None:
        message = "There is no customer with this connection."
        return view.page("message.html", request, status=404, title="Not found", message=message)
    where, parameters = "WHERE user_id = ? AND business_id = ?", (row["user_id"], row["business_id"])
    pager = read_pager(request, view.database.count(f"SELECT count(*) {_TRANSACTIONS_FROM} {where}", parameters))
    return view.page(
        "customer.html",
        request,
        customer=row,
        attributes=_attributes(row),
        transactions=_transactions(view, where=where, parameters=parameters, pager=pager),
        search="",
        pager=pager,
    )


def list_transactions(view: View, request: Request, _: int) -> SandboxResponse:
    """Show all transactions, newest first; can be searched by email, title or `trans_source_id`."""
    search = query_field(request, "q")
    where, parameters = "", tuple[str, ...]()
    if search:
        where = "WHERE email LIKE ?1 ESCAPE '\\' OR title LIKE ?1 ESCAPE '\\' OR trans_source_id LIKE ?1 ESCAPE '\\'"
        parameters = (like(search),)
    pager = read_pager(request, view.database.count(f"SELECT count(*) {_TRANSACTIONS_FROM} {where}", parameters))
    rows = _transactions(view, where=where, parameters=parameters, pager=pager)
    return view.page("transactions.html", request, transactions=rows, search=search, pager=pager)


def void(view: View, request: Request, transaction_id: int) -> SandboxResponse:
    """Void a transaction, as staff do."""
    is_voided = void_transaction(view.database, view.clock, transaction_id=transaction_id)
    return redirect("/transactions/", done="voided" if is_voided else "not_voided")


def _transactions(view: View, *, where: str, parameters: tuple[object, ...], pager: Pager) -> list[sqlite3.Row]:
    return view.database.rows(
        "SELECT transactions.*, email, (SELECT connection_id FROM connections c WHERE c.user_id = transactions.user_id"
        f" AND c.business_id = transactions.business_id) AS connection_id {_TRANSACTIONS_FROM} {where}"
        " ORDER BY transaction_id DESC LIMIT ? OFFSET ?",
        (*parameters, ROWS_PER_PAGE, pager.offset),
    )


def _attributes(row: sqlite3.Row) -> dict[str, str]:
    """Return the custom attributes for display: texts without quotes, other values as JSON."""
    values: dict[str, msgspec.Raw] = msgspec.json.decode(row["custom_attributes"], type=dict[str, msgspec.Raw])
    return {key: _readable(bytes(value)) for key, value in sorted(values.items())}


def _readable(value: bytes) -> str:
    return msgspec.json.decode(value, type=str) if value.startswith(b'"') else value.decode()
