"""Perkville's API, version 2: bearer tokens, lists and details of every collection, and the two writes.

Objects and filters of collections are in `resources`; the rules of a transaction are in `awards`.
"""

from collections.abc import Callable

import msgspec

from punchcard.clock import Clock, to_micros
from punchcard.sandbox.awards import post_transaction
from punchcard.sandbox.database import ADMIN_EMAIL, Database
from punchcard.sandbox.error_bodies import (
    WHOLE_REQUEST,
    FieldError,
    invalid,
    method_not_allowed,
    not_authenticated,
    not_found,
)
from punchcard.sandbox.faults import Faults
from punchcard.sandbox.orders import read_object
from punchcard.sandbox.resources import RESOURCES, Resource, read_listing
from punchcard.sandbox.web import Request, SandboxResponse, json_response

PREFIX = "/v2/"
BODY_BYTES_MAX = 65_536
ATTRIBUTE_KEY_LENGTH_MAX = 100


class PerkvilleApi:
    """Responds to requests below `/v2/`."""

    def __init__(self, database: Database, clock: Clock, faults: Callable[[], Faults]) -> None:
        self._database = database
        self._clock = clock
        self._faults = faults

    def response(self, request: Request) -> SandboxResponse:
        """Return the response to a request.

        Raises:
            StorageError: A change cannot be stored now.
        """
        if not self._is_authenticated(request):
            return not_authenticated()
        if not request.path.endswith("/"):
            return self._without_slash(request)
        collection, _, item = request.path[len(PREFIX) : -1].partition("/")
        resource = RESOURCES.get(collection)
        if resource is None:
            return not_found(request.path)
        if not item:
            return self._collection(request, resource)
        if resource.name == "users" and item == "me":
            return self._me()
        if not (item.isascii() and item.isdigit() and len(item) <= 18):
            return not_found(request.path)
        return self._item(request, resource, item_id=int(item))

    def _is_authenticated(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        row = self._database.row("SELECT 1 FROM tokens WHERE token = ? AND revoked_us IS NULL", (token.strip(),))
        return row is not None

    def _without_slash(self, request: Request) -> SandboxResponse:
        if request.is_write:
            return not_found(request.path)
        query = f"?{request.query_string}" if request.query_string else ""
        return SandboxResponse(301, headers=(("Location", f"{request.path}/{query}"),))

    def _collection(self, request: Request, resource: Resource) -> SandboxResponse:
        if request.method == "GET":
            return self._list(request, resource)
        if resource.name != "transactions":
            return method_not_allowed(request.method, ("GET",))
        if request.method != "POST":
            return method_not_allowed(request.method, ("GET", "POST"))
        return _check_body(request) or post_transaction(
            self._database, self._clock, faults=self._faults(), body=request.body
        )

    def _list(self, request: Request, resource: Resource) -> SandboxResponse:
        listing = read_listing(resource, request)
        if isinstance(listing, str):
            return invalid(FieldError(WHOLE_REQUEST, listing, "invalid_filter"))
        objects = resource.page(self._database, listing.conditions, limit=listing.limit, offset=listing.offset)
        # No total and no next page: clients must not depend on what Perkville does not promise.
        return json_response(200, {"meta": {"limit": listing.limit, "offset": listing.offset}, "objects": objects})

    def _me(self) -> SandboxResponse:
        row = self._database.row("SELECT user_id FROM users WHERE email_key = ?", (ADMIN_EMAIL,))
        user = None if row is None else RESOURCES["users"].find(self._database, row["user_id"])
        return not_found("/v2/users/me/") if user is None else json_response(200, user)

    def _item(self, request: Request, resource: Resource, *, item_id: int) -> SandboxResponse:
        item = resource.find(self._database, item_id)
        if item is None:
            return not_found(request.path)
        if request.method == "GET":
            return json_response(200, item)
        if resource.name != "connections":
            return method_not_allowed(request.method, ("GET",))
        if request.method != "PATCH":
            return method_not_allowed(request.method, ("GET", "PATCH"))
        return _check_body(request) or self._patch_connection(request, connection_id=item_id)

    def _patch_connection(self, request: Request, *, connection_id: int) -> SandboxResponse:
        attributes = _read_attributes(request.body)
        if isinstance(attributes, FieldError):
            return invalid(attributes)
        with self._database.unit_of_work():
            row = self._database.row(
                "SELECT custom_attributes FROM connections WHERE connection_id = ?", (connection_id,)
            )
            assert row is not None, "the connection was found above, and connections are never removed"
            merged = msgspec.json.decode(row["custom_attributes"], type=dict[str, msgspec.Raw]) | attributes
            remaining = {key: value for key, value in merged.items() if bytes(value) != b"null"}
            self._database.write(
                "UPDATE connections SET custom_attributes = ?, last_mod_us = ? WHERE connection_id = ?",
                (msgspec.json.encode(remaining).decode(), to_micros(self._clock.now()), connection_id),
            )
        return json_response(200, RESOURCES["connections"].find(self._database, connection_id))


def _check_body(request: Request) -> SandboxResponse | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        problem = FieldError(
            WHOLE_REQUEST, f"The body must be application/json, not {kind or 'unnamed'}", "content_type"
        )
        return invalid(problem, status=415)
    if len(request.body) > BODY_BYTES_MAX:
        problem = FieldError(WHOLE_REQUEST, f"The body must not be larger than {BODY_BYTES_MAX} bytes", "too_large")
        return invalid(problem, status=413)
    return None


def _read_attributes(body: bytes) -> dict[str, msgspec.Raw] | FieldError:
    """Read the attributes to merge from `{"custom_attributes": {"vip": true}}`; null removes an attribute.

    Values stay the JSON text that was sent: a number is returned digit for digit.
    """
    keys = read_object(body)
    if isinstance(keys, FieldError):
        return keys
    for key in keys:
        if key != "custom_attributes":
            return FieldError(key, f"{key} cannot be changed", "unknown_field")
    try:
        attributes = msgspec.json.decode(keys["custom_attributes"], type=dict[str, msgspec.Raw])
    except KeyError:
        return FieldError("custom_attributes", "custom_attributes is required", "required")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return FieldError("custom_attributes", f"custom_attributes must be an object: {exc}", "invalid")
    if any(bytes(value)[:1] in {b"{", b"["} for value in attributes.values()):
        return FieldError("custom_attributes", "A custom attribute is a text, a number, true, false or null", "invalid")
    if not all(0 < len(key) <= ATTRIBUTE_KEY_LENGTH_MAX for key in attributes):
        message = f"The name of an attribute has 1 to {ATTRIBUTE_KEY_LENGTH_MAX} characters"
        return FieldError("custom_attributes", message, "invalid")
    return attributes
