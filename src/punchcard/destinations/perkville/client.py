"""Performs effects at Perkville, and reads back whether they stand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from punchcard.clock import Clock, SystemClock
from punchcard.destinations.perkville.checking import find_findings, verify_account
from punchcard.destinations.perkville.definition import USER_PROPERTY
from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.pagination import Item, item_of, read_list
from punchcard.destinations.perkville.perk_choices import list_mapping_choices
from punchcard.destinations.perkville.perks import Perks
from punchcard.destinations.perkville.property_values import property_value
from punchcard.destinations.perkville.reading_back import find_transaction, performed_of
from punchcard.destinations.perkville.reconciling import list_transactions, read_user_emails
from punchcard.destinations.perkville.responses import Content, Response
from punchcard.destinations.perkville.settings import PerkvilleSettings, with_event_settings
from punchcard.destinations.perkville.wire import (
    Wire,
    amount_of,
    id_of,
    patch_connection,
    post_transaction,
)
from punchcard.destinations.port import CustomerBalance, Effect, Finding, MappingChoice, Performed
from punchcard.destinations.reconciling import TransactionPage
from punchcard.errors import InvariantError, OutcomeUnknownError, RejectedError, RetryableError


class PerkvilleClient:
    """Talks to Perkville with one set of settings.

    Args:
        clock: For remembering perks and for `Retry-After` dates.
    """

    def __init__(self, settings: PerkvilleSettings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._http = PerkvilleHttp(settings, clock := clock or SystemClock())
        self._perks = Perks(self._http, settings, clock)

    async def perform(self, effect: Effect) -> Performed:
        """Book a transaction, or set a user property at the customer's connection.

        Raises:
            RetryableError: surely not performed, later perhaps; `no_connection` if the customer is not known yet.
            RejectedError: Perkville says no (`duplicate_key` if because the key is used), or the perk would do the
                opposite of what is asked (`perk_unusable`).
            CredentialsError: Perkville does not accept the token.
            OutcomeUnknownError: perhaps performed.
        """
        deadline = Deadline(self._settings.delivery.request_timeout_seconds)
        if effect.kind == USER_PROPERTY:
            return await self._set_property(effect, deadline)
        return await self._book(effect, deadline)

    async def find(self, effect: Effect) -> Performed | None:
        """Whether the effect stands at Perkville; None if it surely does not.

        Raises:
            RetryableError: it could not be read, or what was read decides nothing (`read_back_unclear`).
            RejectedError: Perkville does not let it be read.
            CredentialsError: Perkville does not accept the token.
        """
        delivery = self._settings.delivery
        # Many pages may be read. They must end before the lease does, which outlasts these two waits.
        deadline = Deadline(delivery.request_timeout_seconds + delivery.unknown_wait_seconds)
        if effect.kind == USER_PROPERTY:
            return await self._find_property(effect, deadline)
        return await find_transaction(self._http, self._settings, effect, deadline=deadline)

    async def check(self) -> Sequence[Finding]:
        """What is right and wrong with token, business, location and every mapped perk, as Perkville sees them."""
        return await find_findings(self._http, self._perks, self._settings)

    async def verify(self) -> None:
        """See that token, business and location belong together.

        Raises:
            CredentialsError: Perkville does not accept the token.
            RejectedError: business or location is not there, not theirs, or not active.
            RetryableError: Perkville cannot be asked at the moment.
        """
        await verify_account(self._http, self._settings)

    async def mapping_choices(self) -> Sequence[MappingChoice]:
        """The perks of the business and those that events are mapped to, by title.

        Raises:
            CredentialsError: Perkville does not accept the token.
            RejectedError: Perkville does not let them be read.
            RetryableError: Perkville cannot be asked at the moment.
        """
        return await list_mapping_choices(self._http, self._perks, self._settings)

    async def customer(self, email: str) -> CustomerBalance | None:
        """The customer's connection to the business; None if there is none.

        Raises:
            CredentialsError: Perkville does not accept the token.
            RejectedError: Perkville does not let it be read.
            RetryableError: Perkville cannot be asked at the moment.
        """
        wire = self._settings.wire
        connection = await self._connection(email, Deadline(self._settings.delivery.request_timeout_seconds))
        if connection is None:
            return None
        status = connection.get(wire.status_key)
        return CustomerBalance(
            partner_id=self._connection_id(connection),
            balance=amount_of(connection.get(wire.balance_key)),
            status=status if isinstance(status, str) else "",
        )

    async def list_transactions(self, since: datetime, *, cursor: str | None) -> TransactionPage:
        """A page of the business's transactions: all of them, as no filter by time is known.

        Raises:
            CredentialsError: Perkville does not accept the token.
            RejectedError: Perkville does not let them be read, or shows none of their keys (`keys_not_shown`).
            RetryableError: Perkville cannot be asked at the moment.
        """
        return await list_transactions(self._http, self._settings, cursor=cursor)

    async def read_customer_emails(self, customer_ref: str) -> Sequence[str]:
        """The email addresses of a user, lower-cased; none if Perkville does not know the user any more.

        Raises:
            CredentialsError: Perkville does not accept the token.
            RejectedError: Perkville does not let the user be read.
            RetryableError: Perkville cannot be asked at the moment.
        """
        return await read_user_emails(self._http, self._settings, customer_ref)

    def lists(self, event_settings: Mapping[str, object] | None) -> bool:
        """Whether an effect with these event settings is booked for this client's business."""
        return with_event_settings(self._settings, event_settings).business_id == self._settings.business_id

    async def close(self) -> None:
        """Release the connections."""
        await self._http.close()

    async def _book(self, effect: Effect, deadline: Deadline) -> Performed:
        if effect.item is None or not effect.quantity:
            raise InvariantError(f"transaction {effect.effect_key} has no perk or no quantity")
        settings = with_event_settings(self._settings, effect.event_settings)
        quantity = await self._perks.quantity_to_send(
            effect.item,
            effect.quantity,
            method=settings.refund_method,
            event_name=effect.event_name,
            deadline=deadline,
        )
        request = post_transaction(
            settings.wire,
            effect,
            quantity,
            business_id=settings.business_id,
            location_id=settings.location_id,
            send_email=settings.send_email,
        )
        response = await self._http.send(request, deadline=deadline)
        item = item_of(response)
        key = item.get(settings.wire.trans_source_id_key)
        performed = performed_of(item, effect.quantity, settings.wire, status=response.status)
        if key is None and performed.partner_id is None:
            raise _unconfirmed(response, "with an object that has neither an id nor our key")
        if key not in (None, "", effect.effect_key):
            raise _unconfirmed(
                response,
                f"with a transaction under {str(key)[:100]!r} instead of {effect.effect_key!r}",
                partner_id=performed.partner_id,
            )
        if contradiction := self._perks.contradiction(effect.item, quantity, item):
            notes = [note for note in (performed.note, contradiction) if note]
            return replace(performed, note="; ".join(notes))
        return performed

    async def _set_property(self, effect: Effect, deadline: Deadline) -> Performed:
        connection = await self._connection(effect.email, deadline)
        if connection is None:
            raise RetryableError(
                f"{effect.email} is not a customer at Perkville yet; it is tried again later",
                code="no_connection",
                status=200,  # of the search: Perkville does respond
            )
        connection_id = self._connection_id(connection)
        request = patch_connection(self._settings.wire, connection_id, _attributes(effect))
        response = await self._http.send(request, deadline=deadline)
        if (shown_id := _shown_connection_id(item_of(response), self._settings.wire)) not in (None, connection_id):
            raise _unconfirmed(response, f"with connection {shown_id} instead of {connection_id}")
        is_shown = response.content is not Content.EMPTY
        note = None if is_shown else f"Perkville answered {response.status} without showing what it has set"
        return Performed(status=response.status, partner_id=connection_id, note=note)

    async def _find_property(self, effect: Effect, deadline: Deadline) -> Performed | None:
        connection = await self._connection(effect.email, deadline)
        if connection is None:
            return None
        current = connection.get(self._settings.wire.attributes_key)
        if not isinstance(current, Mapping):
            # It is not shown. Setting it once more does no harm: the second time changes nothing.
            return None
        attributes = _attributes(effect)
        if all(name in current and _same_json(current[name], value) for name, value in attributes.items()):
            return Performed(status=None, partner_id=self._connection_id(connection))
        return None

    async def _connection(self, email: str, deadline: Deadline) -> Item | None:
        wire = self._settings.wire
        for address in dict.fromkeys((email, email.lower())):
            connections: dict[str, Item] = {}
            async for item in read_list(
                self._http, self._settings, wire.connections_path, email=address, deadline=deadline
            ):
                if id_of(item.get(wire.business_key)) in (None, self._settings.business_id):
                    connections[self._connection_id(item)] = item
                if len(connections) > 1:
                    # An address names one customer. With two, the filter was not obeyed, and a stranger may be meant.
                    raise RejectedError(
                        f"Perkville shows more than one connection for {email}: whom to set a property at is not clear",
                        code="connection_ambiguous",
                    )
            if connections:
                return next(iter(connections.values()))
        return None

    def _connection_id(self, connection: Item) -> str:
        connection_id = _shown_connection_id(connection, self._settings.wire)
        if connection_id is None:
            raise RetryableError("Perkville shows a connection without an id", code="read_back_unclear")
        return connection_id


def _shown_connection_id(connection: Item, wire: Wire) -> str | None:
    return id_of(connection.get(wire.connection_id_key)) or id_of(connection.get(wire.resource_uri_key))


def _unconfirmed(response: Response, words: str, *, partner_id: str | None = None) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"Perkville answered {response.status}, but {words}",
        status=response.status,
        request_id=response.request_id,
        partner_id=partner_id,
    )


def _attributes(effect: Effect) -> Mapping[str, object]:
    if not effect.attributes:
        raise InvariantError(f"user property {effect.effect_key} has no attributes")
    # Rows that were planned by a version that sent lists have one still.
    return {name: property_value(value) for name, value in effect.attributes.items()}


def _same_json(value: object, other: object) -> bool:
    if isinstance(value, bool) or isinstance(other, bool):
        # In Python true equals 1, at Perkville it does not.
        return value is other
    if isinstance(value, int | float | Decimal) and isinstance(other, int | float | Decimal):
        return Decimal(str(value)) == Decimal(str(other))
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_same_json, value, other))
    return value == other
