"""Lists what Perkville has booked for the business, to be compared with the ledger.

No filter by time and no order of the list is documented, so every transaction is read, in large pages.
Every call is one request, so the caller decides when the next one is sent.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.pagination import Item, item_of, page_of, unclear
from punchcard.destinations.perkville.responses import Response
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import (
    ShownKey,
    Wire,
    amount_of,
    id_of,
    is_one_of,
    list_page,
    read_one,
    shown_key,
    transaction_id_of,
)
from punchcard.destinations.reconciling import PartnerTransaction, TransactionPage, TransactionStatus
from punchcard.errors import InvariantError, RejectedError

_NOT_FOUND = 404
_KEY_CHARACTERS_MAX = 255
_RETURNS_MAX = 20
_RETURN_TRANSACTIONS = 1_000


class _Cursor(msgspec.Struct, forbid_unknown_fields=True):
    """Where the next page begins.

    Attributes:
        first: The first transaction of the page before: an offset that is not obeyed shows it again.
        last: Its last transaction, with which the next page begins, unless the list has changed meanwhile; "" if pages
            do not overlap.
        returns: How often in a row the list had changed so much that reading went back.
        keys: Transactions so far that show their key.
        hidden: Transactions so far of which neither the key nor the id can tell what they are.
    """

    offset: int = 0
    first: str = ""
    last: str = ""
    returns: int = 0
    keys: int = 0
    hidden: int = 0


async def list_transactions(http: PerkvilleHttp, settings: PerkvilleSettings, *, cursor: str | None) -> TransactionPage:
    """Read one page; the last one has no cursor.

    Pages overlap by one transaction. While they are read, transactions can be booked or deleted, which moves all
    behind them; where the overlap is missing, reading goes back by a page, so that none is skipped.

    Raises:
        CredentialsError: Perkville does not accept the token.
        RejectedError: Perkville does not let them be read, or shows none of their keys (`keys_not_shown`).
        RetryableError: Perkville cannot be asked at the moment, or its pages make no sense (`read_back_unclear`).
    """
    wire = settings.wire
    place = _read_cursor(cursor)
    request = list_page(
        wire,
        wire.transactions_path,
        business_id=settings.business_id,
        email=None,
        offset=place.offset,
        limit=wire.reconcile_page_limit,
    )
    response = await http.send(request, deadline=Deadline(settings.delivery.request_timeout_seconds))
    items, _, total = page_of(response, settings)
    ids = [_partner_id(item, wire, number=number) for number, item in enumerate(items, place.offset)]
    if place.last and place.last not in ids:
        return TransactionPage(transactions=(), cursor=_encode(_go_back(place, response)))
    known = ids.index(place.last) + 1 if place.last else 0
    if len(items) == known and place.offset + len(items) >= total:
        return _end(place, response, wire)
    if ids and ids[0] == place.first:
        raise unclear("it repeats a page whatever the offset is", response)
    if not ids:
        raise unclear(f"it ends after {place.offset} of {total} objects", response)
    own = [item for item in items[known:] if id_of(item.get(wire.business_key)) in (None, settings.business_id)]
    shown, hidden = _count_keys(own, wire)
    overlaps = len(items) > 1
    following = _Cursor(
        offset=place.offset + len(items) - overlaps,
        first=ids[0],
        last=ids[-1] if overlaps else "",
        keys=place.keys + shown,
        hidden=place.hidden + hidden,
    )
    return TransactionPage(
        transactions=[_transaction(item, wire, number=number) for number, item in enumerate(own, place.offset + known)],
        cursor=_encode(following),
    )


def _count_keys(items: Sequence[Item], wire: Wire) -> tuple[int, int]:
    """Count the transactions that show their key, and those that can be compared by nothing.

    One with an empty key was booked by staff, or is known by its id.
    """
    shown = hidden = 0
    for item in items:
        key = shown_key(item, wire)
        if key is ShownKey.SHOWN:
            shown += 1
        elif key is ShownKey.HIDDEN or transaction_id_of(item, wire) is None:
            hidden += 1
    return shown, hidden


def _go_back(place: _Cursor, response: Response) -> _Cursor:
    """Return the place one page before, where the list is read again."""
    if place.returns >= _RETURNS_MAX:
        raise unclear("its transactions change faster than they can be read", response)
    offset = max(0, place.offset - _RETURN_TRANSACTIONS)
    return _Cursor(offset=offset, returns=place.returns + 1, keys=place.keys, hidden=place.hidden)


def _end(place: _Cursor, response: Response, wire: Wire) -> TransactionPage:
    """Return the page behind the last one.

    Raises:
        RejectedError: No transaction has shown its key.
    """
    if place.hidden and not place.keys:
        raise RejectedError(
            f"Perkville shows {place.hidden} transactions, but of none under which {wire.trans_source_id_key}: "
            "they cannot be compared with the ledger",
            code="keys_not_shown",
            status=response.status,
        )
    return TransactionPage(transactions=(), cursor=None)


async def read_user_emails(http: PerkvilleHttp, settings: PerkvilleSettings, user_id: str) -> Sequence[str]:
    """Read the email addresses of a user, lower-cased; none if Perkville does not know the user any more.

    Raises:
        CredentialsError: Perkville does not accept the token.
        RejectedError: Perkville does not let the user be read.
        RetryableError: Perkville cannot be asked at the moment.
    """
    wire = settings.wire
    deadline = Deadline(settings.delivery.request_timeout_seconds)
    try:
        item = item_of(await http.send(read_one(wire.users_path, user_id), deadline=deadline))
    except RejectedError as error:
        if error.status == _NOT_FOUND:
            return ()
        raise
    listed = item.get(wire.emails_key)
    entries = listed if isinstance(listed, list) else [item.get(wire.email_key)]
    emails = [entry.get(wire.email_key) if isinstance(entry, dict) else entry for entry in entries]
    return sorted({email.strip().lower() for email in emails if isinstance(email, str) and email.strip()})


def _encode(cursor: _Cursor) -> str:
    return msgspec.json.encode(cursor).decode()


def _read_cursor(cursor: str | None) -> _Cursor:
    try:
        return _Cursor() if cursor is None else msgspec.json.decode(cursor, type=_Cursor)
    except msgspec.DecodeError as error:
        raise InvariantError(f"{cursor[:100]!r} is not a cursor of transactions") from error  # type: ignore[index]


def _transaction(item: Item, wire: Wire, *, number: int) -> PartnerTransaction:
    status = item.get(wire.transaction_status_key)
    key = item.get(wire.trans_source_id_key)
    return PartnerTransaction(
        partner_id=_partner_id(item, wire, number=number),
        effect_key=key if isinstance(key, str) and 0 < len(key) <= _KEY_CHARACTERS_MAX else None,
        customer_ref=id_of(item.get(wire.user_key)) or "",
        mapping_value=id_of(item.get(wire.perk_key)),
        quantity=_signed(item, wire),
        status=_status_of(status, wire),
        status_text=status[:50] if isinstance(status, str) else "",
        booked_at=_instant(item.get(wire.transaction_time_key)),
    )


def _partner_id(item: Item, wire: Wire, *, number: int) -> str:
    """The id of a transaction; its place in the list if it shows none, as one such transaction must not hide others."""
    return transaction_id_of(item, wire) or f"no {number}"


def _signed(item: Item, wire: Wire) -> Decimal | None:
    """The quantity as the ledger counts it: what redeems takes away, whichever sign Perkville shows."""
    quantity = amount_of(item.get(wire.quantity_key))
    if quantity is None or not is_one_of(item.get(wire.classification_key), wire.redeeming_classifications):
        return quantity
    return -abs(quantity)


def _status_of(word: object, wire: Wire) -> TransactionStatus:
    # One that is not shown counts: Perkville's own clients show transactions without it.
    if not isinstance(word, str) or is_one_of(word, wire.active_statuses):
        return TransactionStatus.ACTIVE
    if is_one_of(word, wire.reversed_statuses):
        return TransactionStatus.REVERSED
    return TransactionStatus.OFFSET if is_one_of(word, wire.offset_statuses) else TransactionStatus.PENDING


def _instant(value: object) -> datetime | None:
    """An instant in either of Perkville's forms, with `T` or a space; UTC if it names no offset."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
