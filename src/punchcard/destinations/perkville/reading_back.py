"""Reads back whether a transaction stands at Perkville, whatever Perkville shows of the key that was sent."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto

from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.pagination import Item, read_list
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import (
    KeyLikeness,
    ShownKey,
    Wire,
    amount_of,
    id_of,
    is_one_of,
    is_own_key,
    key_likeness,
    shown_key,
    transaction_id_of,
)
from punchcard.destinations.port import Effect, Performed
from punchcard.destinations.reconciling import is_alike
from punchcard.errors import RetryableError
from punchcard.events.commerce import amount_text

_KEY_CHARACTERS_SHOWN = 100


class _Keys(Enum):
    """How Perkville shows the keys of transactions that the ledger knows by their ids."""

    UNKNOWN = auto()  # none of them was seen
    AS_SENT = auto()
    REWRITTEN = auto()  # under keys that are not like those that were sent


@dataclass(kw_only=True)
class _Listing:
    """What the list of a customer's transactions tells of one effect.

    Attributes:
        same: The transaction with the effect's key.
        named: The one with the id that an inconclusive response has named.
        altered: Those with a key that is like the effect's.
        stranger: One of its perk with another key, which the ledger does not know.
        shown: How many show a key.
        hidden: How many that the ledger does not know show none.
        alike: How many may be the effect and have an empty key.
        expected: How many of those that must be shown are.
    """

    same: Item | None = None
    named: Item | None = None
    altered: dict[KeyLikeness, Item] = field(default_factory=dict)
    stranger: Item | None = None
    shown: int = 0
    hidden: int = 0
    alike: int = 0
    expected: int = 0
    keys: _Keys = _Keys.UNKNOWN


async def find_transaction(
    http: PerkvilleHttp, settings: PerkvilleSettings, effect: Effect, *, deadline: Deadline
) -> Performed | None:
    """Return the transaction of an effect; None if it surely does not stand.

    Raises:
        RetryableError: the lists could not be read, or they decide nothing (`read_back_unclear`).
        RejectedError: Perkville does not let them be read.
        CredentialsError: Perkville does not accept the token.
    """
    wire = settings.wire
    listing = await _read_listing(http, settings, effect, deadline=deadline)
    certain = listing.same or listing.named
    if certain is not None:
        return performed_of(certain, effect.quantity, wire, status=None)
    if (listing.hidden or listing.alike) and not listing.shown:
        raise _unclear(
            f"Perkville shows transactions of {effect.email}, but none with its {wire.trans_source_id_key}: "
            "whether this one is among them is not known"
        )
    if (recased := listing.altered.get(KeyLikeness.RECASED)) is not None:
        return performed_of(recased, effect.quantity, wire, status=None)
    if (cut := listing.altered.get(KeyLikeness.CUT)) is not None:
        raise _unclear(f"Perkville shows {_described(cut, effect, wire)}, which may be {effect.effect_key!r} cut")
    if listing.stranger is not None:
        keys = listing.keys
        if keys is _Keys.UNKNOWN:
            keys = await _keys_elsewhere(http, settings, effect, deadline=deadline)
        if keys is not _Keys.AS_SENT:
            why = (
                "under other keys than they were sent with" if keys is _Keys.REWRITTEN else "none that can be compared"
            )
            raise _unclear(
                f"Perkville shows {_described(listing.stranger, effect, wire)}, and of the awards in the ledger "
                f"{why}: whether that is {effect.effect_key!r} is not known"
            )
    if effect.expected_ids and not listing.expected:
        # The address may have been normalized, or the customer merged with another one: nothing is shown of them.
        raise _unclear(
            f"Perkville shows none of the customer's awards for {effect.email}, of which the ledger has "
            f"{len(effect.expected_ids)} in this account: whether this one is there is not known"
        )
    return None


def performed_of(item: Item, requested: Decimal | None, wire: Wire, *, status: int | None) -> Performed:
    """Return the result that a transaction in a response or in a list stands for.

    Args:
        requested: The units that were sent.
        status: HTTP status of the response, None for a list.
    """
    notes = []
    booked = amount_of(item.get(wire.quantity_key))
    # The sign is left out: of a perk that redeems, either may be shown.
    if booked is not None and requested is not None and abs(booked) != abs(requested):
        notes.append(f"Perkville booked {amount_text(abs(booked))} units instead of {amount_text(abs(requested))}")
    state = item.get(wire.transaction_status_key)
    if isinstance(state, str) and not is_one_of(state, wire.active_statuses):
        notes.append(f"at Perkville its status is {state[:50]}")
    return Performed(
        status=status,
        partner_id=transaction_id_of(item, wire),
        note="; ".join(notes) or None,
        # Only what is read back tells something that the ledger may not know.
        units=None if booked is None or status is not None else abs(booked),
    )


async def _read_listing(
    http: PerkvilleHttp, settings: PerkvilleSettings, effect: Effect, *, deadline: Deadline
) -> _Listing:
    wire = settings.wire
    listing = _Listing()
    other_keys = set(effect.other_ids.values())
    async for item in _transactions_of(http, settings, effect.email, deadline=deadline):
        key = item.get(wire.trans_source_id_key)
        if key == effect.effect_key:
            listing.same = item
            break
        item_id = transaction_id_of(item, wire)
        is_other = item_id in effect.other_ids
        # Or by its key, if a list shows other ids than responses do.
        listing.expected += item_id in effect.expected_ids or (isinstance(key, str) and key in other_keys)
        may_be = not is_other and _is_alike(item, effect, wire)
        if may_be and item_id == (effect.named_id or ""):
            listing.named = item
        match shown_key(item, wire):
            case ShownKey.SHOWN:
                listing.shown += 1
                _note_key(listing, item, effect, wire)
            case ShownKey.HIDDEN:
                listing.hidden += not is_other
            case ShownKey.EMPTY:  # where no key is shown at all, it may be the effect
                listing.alike += may_be
    return listing


def _note_key(listing: _Listing, item: Item, effect: Effect, wire: Wire) -> None:
    key, item_id = item[wire.trans_source_id_key], transaction_id_of(item, wire)
    other_key = None if item_id is None else effect.other_ids.get(item_id)
    listing.keys = _keys_after(listing.keys, key, sent=other_key)
    if other_key is not None:
        return
    likeness = key_likeness(key, effect.effect_key)
    if likeness is not KeyLikeness.OTHER:
        if _is_alike(item, effect, wire):
            listing.altered[likeness] = item
    elif id_of(item.get(wire.perk_key)) in (None, effect.item) and not is_own_key(key):
        listing.stranger = listing.stranger or item


def _keys_after(before: _Keys, key: object, *, sent: str | None) -> _Keys:
    """Return what is known of keys after one more was seen.

    Args:
        sent: The key that its transaction was sent with, None if the ledger does not know that transaction.
    """
    if sent is not None and key_likeness(key, sent) is KeyLikeness.OTHER:
        return _Keys.REWRITTEN
    return _Keys.AS_SENT if before is _Keys.UNKNOWN and (sent is not None or is_own_key(key)) else before


async def _keys_elsewhere(
    http: PerkvilleHttp, settings: PerkvilleSettings, effect: Effect, *, deadline: Deadline
) -> _Keys:
    """Return how Perkville shows the key of an award of another customer."""
    keys = _Keys.UNKNOWN
    elsewhere, wire = effect.elsewhere, settings.wire
    if elsewhere is None:
        return keys
    async for item in _transactions_of(http, settings, elsewhere.email, deadline=deadline):
        if shown_key(item, wire) is ShownKey.SHOWN:
            is_it = elsewhere.partner_id is not None and transaction_id_of(item, wire) == elsewhere.partner_id
            keys = _keys_after(keys, item[wire.trans_source_id_key], sent=elsewhere.effect_key if is_it else None)
    return keys


async def _transactions_of(
    http: PerkvilleHttp, settings: PerkvilleSettings, email: str, *, deadline: Deadline
) -> AsyncIterator[Item]:
    # Whether Perkville's filter minds the case of an address is not known, so both forms are asked for.
    for address in dict.fromkeys((email, email.lower())):
        async for item in read_list(http, settings, settings.wire.transactions_path, email=address, deadline=deadline):
            yield item


def _is_alike(item: Item, effect: Effect, wire: Wire) -> bool:
    """Return whether a transaction may be the effect by all but its key and its id."""
    return is_alike(
        effect.item,
        effect.quantity,
        shown_item=id_of(item.get(wire.perk_key)),
        shown_quantity=amount_of(item.get(wire.quantity_key)),
    )


def _described(item: Item, effect: Effect, wire: Wire) -> str:
    key = str(item[wire.trans_source_id_key])[:_KEY_CHARACTERS_SHOWN]
    return f"transaction {transaction_id_of(item, wire)} of {effect.email} under {key!r}"


def _unclear(message: str) -> RetryableError:
    return RetryableError(message, code="read_back_unclear")
