"""The objects and filters of each collection of the API: a table row per collection."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from punchcard.clock import from_micros
from punchcard.sandbox.database import Database
from punchcard.sandbox.web import Request

Parse = Callable[[str], object]
"""Converts a filter's text to the value to compare with; None if the text is invalid."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A query field that filters a list."""

    condition: str
    parse: Parse


@dataclass(frozen=True, slots=True)
class Resource:
    """A collection. Lists are in ascending order of ids: a stable order, and not the newest first."""

    name: str
    select: str
    id_column: str
    filters: Mapping[str, Filter]
    render: Callable[[sqlite3.Row], dict[str, object]]

    def find(self, database: Database, item_id: int) -> dict[str, object] | None:
        """Return the object with this id as in the API."""
        row = database.row(f"{self.select} WHERE {self.id_column} = ?", (item_id,))
        return None if row is None else self.render(row)

    def page(
        self, database: Database, conditions: Mapping[str, object], *, limit: int, offset: int
    ) -> list[dict[str, object]]:
        """Return a page of the objects that meet all `conditions` (filter name to parsed value)."""
        where = " AND ".join(self.filters[name].condition for name in conditions) or "TRUE"
        sql = f"{self.select} WHERE {where} ORDER BY {self.id_column} LIMIT ? OFFSET ?"
        return [self.render(row) for row in database.rows(sql, (*conditions.values(), limit, offset))]


def uri(collection: str, item_id: object) -> str:
    """Return the API's name of an object: `/v2/perks/123456/`."""
    return f"/v2/{collection}/{item_id}/"


def reference_id(collection: str, text: str) -> int | None:
    """Return the id in `/v2/perks/123456/` or `123456`; None if the text is neither."""
    match = re.fullmatch(rf"(?:/v2/{collection}/([0-9]{{1,18}})/)|([0-9]{{1,18}})", text)
    return None if match is None else int(match[1] or match[2])


def _refers_to(collection: str) -> Parse:
    return lambda text: reference_id(collection, text)


def _email(text: str) -> object:
    return text.strip().lower() or None


def _word(text: str) -> object:
    return text or None


def moment(micros: int | None, separator: str = "T") -> str | None:
    """Format a stored time as in the API: `2026-01-02T03:04:05+00:00`."""
    return None if micros is None else from_micros(micros).isoformat(separator, timespec="seconds")


def number(text: str) -> object:
    """Return a stored decimal as a JSON number, digit for digit."""
    return msgspec.Raw(text.encode())


def _business(row: sqlite3.Row) -> dict[str, object]:
    return {
        "business_id": row["business_id"],
        "name": row["name"],
        "slug": row["slug"],
        "status": row["status"],
        "timezone": row["timezone"],
        "resource_uri": uri("businesses", row["business_id"]),
    }


def _location(row: sqlite3.Row) -> dict[str, object]:
    return {
        "location_id": row["location_id"],
        "business": uri("businesses", row["business_id"]),
        "name": row["name"],
        "address": row["address"],
        "status": row["status"],
        "timezone": row["timezone"],
        "external_location_id": None,
        "resource_uri": uri("locations", row["location_id"]),
    }


def _perk(row: sqlite3.Row) -> dict[str, object]:
    return {
        "perk_id": row["perk_id"],
        "business": uri("businesses", row["business_id"]),
        "classification": row["classification"],
        "status": row["status"],
        "title": row["title"],
        "description": row["description"],
        "fine_print": "",
        "points": row["points"],
        "from_date": None,
        "to_date": None,
        "completes_referral": False,
        "eligible_at_all_locations": True,
        "admin_flagged_as_invisible_to_customers": False,
        "resource_uri": uri("perks", row["perk_id"]),
    }


def _user(row: sqlite3.Row) -> dict[str, object]:
    connections = row["connection_ids"]
    return {
        "user_id": row["user_id"],
        "first_name": row["first_name"],
        "last_name": row["last_name"],
        "birthday": None,
        "phone_number": None,
        "emails": [{"email": row["email"], "primary": True}],
        "connections": [uri("connections", id_) for id_ in connections.split(",")] if connections else [],
        # Only users were seen with a space instead of the T.
        "last_mod_dt": moment(row["last_mod_us"], " "),
        "resource_uri": uri("users", row["user_id"]),
    }


def _connection(row: sqlite3.Row) -> dict[str, object]:
    return {
        "connection_id": row["connection_id"],
        "business": uri("businesses", row["business_id"]),
        "user": uri("users", row["user_id"]),
        "status": row["status"],
        "point_balance": number(row["point_balance"]),
        "lifetime_earned_points": number(row["lifetime_earned_points"]),
        "level": None,
        "home_location": None,
        "custom_attributes": msgspec.Raw(row["custom_attributes"].encode()),
        "last_transaction_dt": moment(row["last_transaction_us"]),
        "last_mod_dt": moment(row["last_mod_us"]),
        "vouchers": [],
        "resource_uri": uri("connections", row["connection_id"]),
    }


def _connection_balance(row: sqlite3.Row) -> dict[str, object]:
    return {
        "connection": uri("connections", row["connection_id"]),
        "balance": number(row["point_balance"]),
        "last_mod_dt": moment(row["last_mod_us"]),
        "resource_uri": uri("connection-balances", row["connection_id"]),
    }


def _transaction(row: sqlite3.Row) -> dict[str, object]:
    return {
        "transaction_id": row["transaction_id"],
        "title": row["title"],
        "classification": row["classification"],
        "points": row["points"],
        "quantity": row["quantity"],
        "transaction_dt": moment(row["transaction_us"]),
        "transaction_status": row["status"],
        "user": uri("users", row["user_id"]),
        "perk": uri("perks", row["perk_id"]),
        "business": uri("businesses", row["business_id"]),
        "location": uri("locations", row["location_id"]),
        "trans_source_id": row["trans_source_id"],
        "voucher": None,
        "resource_uri": uri("transactions", row["transaction_id"]),
    }


_BUSINESS_FILTER = Filter("business_id = ?", _refers_to("businesses"))
_USER_FILTER = Filter("user_id = ?", _refers_to("users"))
_EMAIL_FILTER = Filter("user_id = (SELECT user_id FROM users WHERE email_key = ?)", _email)

RESOURCES: Mapping[str, Resource] = {
    resource.name: resource
    for resource in (
        Resource("businesses", "SELECT * FROM businesses", "business_id", {"business_id": _BUSINESS_FILTER}, _business),
        Resource("locations", "SELECT * FROM locations", "location_id", {"business": _BUSINESS_FILTER}, _location),
        Resource(
            "perks",
            "SELECT * FROM perks",
            "perk_id",
            {"business": _BUSINESS_FILTER, "classification": Filter("classification = ?", _word)},
            _perk,
        ),
        Resource(
            "users",
            "SELECT *, (SELECT group_concat(connection_id) FROM connections c WHERE c.user_id = users.user_id)"
            " AS connection_ids FROM users",
            "user_id",
            {"emails__email": Filter("email_key = ?", _email)},
            _user,
        ),
        Resource(
            "connections",
            "SELECT * FROM connections",
            "connection_id",
            {
                "business": _BUSINESS_FILTER,
                "user_id": _USER_FILTER,
                "user": _USER_FILTER,
                "user__emails__email": _EMAIL_FILTER,
                "status": Filter("status = ?", _word),
            },
            _connection,
        ),
        Resource(
            "connection-balances",
            "SELECT * FROM connections",
            "connection_id",
            {
                "business": _BUSINESS_FILTER,
                "connection": Filter("connection_id = ?", _refers_to("connections")),
                "user__emails__email": _EMAIL_FILTER,
            },
            _connection_balance,
        ),
        Resource(
            "transactions",
            "SELECT * FROM transactions",
            "transaction_id",
            {
                "business": _BUSINESS_FILTER,
                "user": _USER_FILTER,
                "user__emails__email": _EMAIL_FILTER,
                "perk": Filter("perk_id = ?", _refers_to("perks")),
                "trans_source_id": Filter("trans_source_id = ?", _word),
            },
            _transaction,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The filters and the page of a list request."""

    conditions: Mapping[str, object]
    limit: int
    offset: int


LIMIT_DEFAULT = 20
LIMIT_MAX = 1000


def read_listing(resource: Resource, request: Request) -> Listing | str:
    """Read the filters and the page of a list request; return a sentence if one of them is invalid."""
    conditions: dict[str, object] = {}
    page = {"limit": LIMIT_DEFAULT, "offset": 0}
    try:
        query = request.query()
    except ValueError as exc:
        return f"The query cannot be read: {exc}"
    for name, text in query.items():
        if name in page:
            if not re.fullmatch("[0-9]{1,9}", text):
                return f"{name} must be a whole number, not {text!r}"
            page[name] = int(text)
        elif name in resource.filters:
            value = resource.filters[name].parse(text)
            if value is None:
                return f"{text!r} is not a value for the filter {name}"
            conditions[name] = value
        elif not (name == "format" and text == "json"):
            return f"The '{name}' field does not allow filtering"
    # As usual with this kind of API, a limit of 0 means the maximum.
    return Listing(conditions, min(page["limit"] or LIMIT_MAX, LIMIT_MAX), page["offset"])
