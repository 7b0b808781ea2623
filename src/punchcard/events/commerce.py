"""The e-commerce members of a track call as the lake's columns: typed, null if missing. Pure.

Names are read in every spelling, as points rules read them: see `members`. Source: Segment's e-commerce spec.
"""

import re
from decimal import Decimal
from typing import NamedTuple

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.members import PROPERTIES, exact_products, members_of
from punchcard.events.model import Event, EventType
from punchcard.events.usual_properties import UsualProperties

_WHOLE_DIGITS_MAX = 29
_EXPONENT_MIN = -9
_PLACES = Decimal("1e-9")
_FEW_PLACES_CHARACTERS_MAX = len("0.123456789")
_TEXT_CHARACTERS_MAX = 1_000
ID_DIGITS_MAX = 255
_TRACK = EventType.TRACK  # looking up a member of an enumeration is slow, and this is used for every event
# Whole numbers as a column of floats writes them, and nothing else: `007.0`, `1001.00` and `1.0.0` are distinct ids.
_WHOLE_FLOAT = re.compile(r"(?:0|-?[1-9][0-9]*)\.0")
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]*")


class Commerce(NamedTuple):
    """The members that are queried most; amounts are exact, with at most nine decimal places."""

    order_id: str | None = None
    revenue: Decimal | None = None
    value: Decimal | None = None
    total: Decimal | None = None
    currency: str | None = None
    product_ids: list[str] | None = None


NOTHING = Commerce()


CommerceValues = tuple[str | None, Decimal | None, Decimal | None, Decimal | None, str | None, list[str] | None]
"""The values of `Commerce`, in its order."""


class _Properties(msgspec.Struct, gc=False):
    order_id: msgspec.Raw = msgspec.Raw()
    revenue: msgspec.Raw = msgspec.Raw()
    value: msgspec.Raw = msgspec.Raw()
    total: msgspec.Raw = msgspec.Raw()
    currency: msgspec.Raw = msgspec.Raw()
    product_id: msgspec.Raw = msgspec.Raw()
    products: msgspec.Raw = msgspec.Raw()


class _Product(msgspec.Struct, gc=False):
    product_id: msgspec.Raw = msgspec.Raw()


_usual = msgspec.json.Decoder(UsualProperties)
_properties = msgspec.json.Decoder(_Properties | None)
_products = msgspec.json.Decoder(list[msgspec.Raw])
_product = msgspec.json.Decoder(_Product)
_amount = msgspec.json.Decoder(Decimal)
_number_or_text = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder()


def commerce_of(event: Event) -> Commerce:
    """Return the e-commerce members of an event; `NOTHING` for any call other than track."""
    raw = event.wire.properties
    if event.type is not _TRACK or not raw or (members := members_of(raw)) is None:
        return NOTHING
    if PROPERTIES.add_exact(members):
        return _read_separately(msgspec.Raw(_encoder.encode(members)))
    if PROPERTIES.are_absent_from(members):
        return NOTHING
    try:
        usual = _usual.decode(raw)
    except UNREADABLE:
        return _read_separately(raw)
    commerce = usual_commerce(usual)
    if commerce is None:
        return _read_separately(raw)
    order_id, revenue, value, total, currency, product_ids = commerce
    return Commerce(
        order_id,
        None if revenue is None else rounded_amount(revenue),
        None if value is None else rounded_amount(value),
        None if total is None else rounded_amount(total),
        currency,
        product_ids,
    )


def usual_commerce(usual: UsualProperties) -> CommerceValues | None:
    """Return the values of `Commerce` for a track call with usual properties, but for `rounded_amount`.

    Returns:
        None if the ids of products may have another spelling.
    """
    ids = usual_product_ids(usual)
    if ids is None:
        return None
    order_id = usual.order_id
    return (
        None if order_id is None else usual_order_id(order_id),
        usual.revenue,
        usual.value,
        usual.total,
        usual.currency or None,
        ids or None,
    )


def usual_order_id(order_id: str | int) -> str | None:
    """Return the `order_id` of usual properties as a column has it."""
    return None if order_id == "" else normalize_id(str(order_id))[:_TEXT_CHARACTERS_MAX]


def usual_product_ids(usual: UsualProperties) -> list[str] | None:
    """Return the ids of the products in usual properties; None if they may have another spelling."""
    if products := usual.products:
        return [str(id_) for product in products if (id_ := product.product_id) is not None] or None
    product_id = usual.product_id
    return [] if product_id is None or product_id == "" else [str(product_id)]


def _read_separately(raw: msgspec.Raw) -> Commerce:
    """Return the valid members of properties that have invalid ones."""
    try:
        decoded = _properties.decode(raw)
    except UNREADABLE:
        return NOTHING
    if decoded is None:
        return NOTHING
    order_id = _text(decoded.order_id)
    return Commerce(
        None if order_id is None else normalize_id(order_id),
        _decimal(decoded.revenue),
        _decimal(decoded.value),
        _decimal(decoded.total),
        _text(decoded.currency),
        _product_ids(decoded),
    )


def _text(raw: msgspec.Raw) -> str | None:
    if not bytes(raw):
        return None
    try:
        value = _number_or_text.decode(raw)
    except (*UNREADABLE, ArithmeticError):
        return None
    text = id_text(value)
    return None if text is None else text[:_TEXT_CHARACTERS_MAX] or None


def normalize_id(text: str) -> str:
    """Return the id of an order or refund in the form in which ids are compared: `1001.0` becomes `1001`.

    A tool that stores ids in a column of floats (pandas, Excel, some POS systems) writes all of them with `.0`, so an
    order may come as `1001` from the shop and as `1001.0` from the POS.
    """
    return text[:-2] if text.endswith(".0") and _WHOLE_FLOAT.fullmatch(text) else text


def id_variants(text: str) -> tuple[str, ...]:
    """Return the id and every other text that `normalize_id` converts to it: `1001` and `1001.0`."""
    normal = normalize_id(text)
    return (normal, f"{normal}.0") if _WHOLE_NUMBER.fullmatch(normal) else (normal,)


def id_text(value: object) -> str | None:
    """Return the text of an id that is text or a whole number (`1001.0` is 1001); None for anything else.

    Args:
        value: A JSON value with its floats read as decimals.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, Decimal):
        # The limit is checked first: 1e999999 is a whole number too.
        if not value.is_finite() or value.adjusted() >= ID_DIGITS_MAX or value != value.to_integral_value():
            return None
        value = int(value)
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return None


def _decimal(raw: msgspec.Raw) -> Decimal | None:
    if not bytes(raw):
        return None
    try:
        amount = _amount.decode(raw)
    except UNREADABLE:
        return None
    return rounded_amount(amount)


def amount_text(quantity: Decimal) -> str:
    """Return a decimal in its shortest form without exponent: 9.99 → "9.99", 50.00 → "50"."""
    text = f"{quantity:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def rounded_amount(amount: Decimal) -> Decimal | None:
    """Return an amount with at most nine decimal places; None if it is too large or no number."""
    if not amount.is_finite() or amount.adjusted() >= _WHOLE_DIGITS_MAX:
        return None
    # An amount with few places is kept unchanged, as most amounts are; its text is the fastest test.
    text = str(amount)
    if len(text) <= _FEW_PLACES_CHARACTERS_MAX and "E" not in text:
        return amount
    exponent = amount.as_tuple().exponent
    return amount.quantize(_PLACES) if isinstance(exponent, int) and exponent < _EXPONENT_MIN else amount


def _product_ids(properties: _Properties) -> list[str] | None:
    if bytes(properties.products):
        try:
            products = _products.decode(exact_products(properties.products) or properties.products)
        except UNREADABLE:
            products = []
        ids = [product_id for product_id in map(_product_id, products) if product_id is not None]
        if ids:
            return ids
    text = _text(properties.product_id)
    return None if text is None else [text]


def _product_id(raw: msgspec.Raw) -> str | None:
    try:
        return _text(_product.decode(raw).product_id)
    except UNREADABLE:
        return None
