"""Reads the few members of an event that earn points: email, order id and amounts. Pure; refuses what is not usable."""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple, TypeVar

import msgspec

from punchcard.errors import RefusedError
from punchcard.events.commerce import ID_DIGITS_MAX, id_text, normalize_id
from punchcard.events.members import EMAIL, PROPERTIES, exact_members, exact_products, has_value
from punchcard.events.model import Event

# All that Decimal and msgspec raise on text that is JSON by its outside only: lone surrogates, bytes that are no
# UTF-8, exponents beyond all bounds, nesting beyond the stack.
_UNREADABLE = (ValueError, ArithmeticError, RecursionError)

ORDER_ID_CHARACTERS_MAX = ID_DIGITS_MAX
_LONGEST_ID = Decimal(f"1E{ID_DIGITS_MAX}")
EMAIL_CHARACTERS_MAX = 254
AMOUNT_MAX = Decimal("999999999999.99")
_CENT = Decimal("0.01")
# Of its own, so that no setting of a thread changes what somebody is awarded.
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f-\x9f\"(),:;<>\[\\\]]{1,64}@(?P<domain>[\w.-]+)")
_DOMAIN_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)")
_SHOWN_CHARACTERS_MAX = 80

_decode_value = msgspec.json.Decoder(float_hook=Decimal).decode

S = TypeVar("S", bound=msgspec.Struct)


class OrderMembers(msgspec.Struct):
    """The members of `properties` that matter here, in whatever spelling; all others are passed over unread."""

    order_id: msgspec.Raw = msgspec.Raw()
    refund_id: msgspec.Raw = msgspec.Raw()
    revenue: msgspec.Raw = msgspec.Raw()
    value: msgspec.Raw = msgspec.Raw()
    total: msgspec.Raw = msgspec.Raw()
    email: msgspec.Raw = msgspec.Raw()
    products: msgspec.Raw = msgspec.Raw()


class ProductMembers(msgspec.Struct):
    """The members of a product that a refund's amount is made of."""

    price: msgspec.Raw = msgspec.Raw()
    quantity: msgspec.Raw = msgspec.Raw()


class Personas(msgspec.Struct):
    """`context.personas`: which computation an event of Engage carries."""

    computation_class: msgspec.Raw = msgspec.Raw()
    computation_key: msgspec.Raw = msgspec.Raw()


class ContextMembers(msgspec.Struct):
    """The members of `context` that matter here."""

    traits: msgspec.Raw = msgspec.Raw()
    personas: msgspec.Raw = msgspec.Raw()


class TraitMembers(msgspec.Struct):
    """The member of `traits` that matters to every event."""

    email: msgspec.Raw = msgspec.Raw()


class FieldRef(NamedTuple):
    """The place of a value, and its JSON text."""

    name: str
    raw: msgspec.Raw


_order_members = msgspec.json.Decoder(OrderMembers).decode
_product_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_product_members = msgspec.json.Decoder(ProductMembers).decode
_personas = msgspec.json.Decoder(Personas).decode
_context_members = msgspec.json.Decoder(ContextMembers).decode
_trait_members = msgspec.json.Decoder(TraitMembers).decode
_any_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def order_members(event: Event) -> OrderMembers:
    """The event's properties."""
    raw = event.wire.properties
    if not _is_object(raw):
        return OrderMembers()
    try:
        properties = _order_members(raw)
    except _UNREADABLE as exc:
        raise _unreadable("properties", exc) from exc
    if has_value(properties.order_id) and has_value(properties.revenue) and has_value(properties.email):
        return properties  # nothing that another spelling could add
    members = exact_members(raw, PROPERTIES)
    if members is None:
        return properties
    return OrderMembers(**{name: members[name] for name in OrderMembers.__struct_fields__ if name in members})


def product_sum(place: "FieldRef") -> Decimal | None:
    """The sum of price times quantity over a list of products, exactly; None if there is no list.

    A product without a quantity counts once. The sum may be negative or zero.

    Raises:
        RefusedError: `missing_amount` if a product has no price or the list is empty; `invalid_amount` if it is not a
            list of products, or a price or quantity is not a number.
    """
    if not has_value(place.raw):
        return None
    try:
        items = _product_items(exact_products(place.raw) or place.raw)
    except _UNREADABLE as exc:
        raise RefusedError(f"{place.name} is not a list of products", code="invalid_amount") from exc
    if not items:
        raise RefusedError(
            f"{place.name} is empty and the refund has no amount, so how much of the order is refunded is not known: "
            "send properties.total, or leave products out to take back all that is left of the order",
            code="missing_amount",
        )
    total = Decimal(0)
    for index, item in enumerate(items):
        name = f"{place.name}[{index}]"
        try:
            product = _product_members(item)
        except _UNREADABLE as exc:
            raise RefusedError(f"{name} is not a product with a price", code="invalid_amount") from exc
        if not has_value(product.price):
            raise RefusedError(
                f"{name} has no price and the refund has no amount, so how much of the order is refunded is not known: "
                "send properties.total, or a price for each product",
                code="missing_amount",
            )
        price = _factor(FieldRef(f"{name}.price", product.price))
        quantity = (
            _factor(FieldRef(f"{name}.quantity", product.quantity)) if has_value(product.quantity) else Decimal(1)
        )
        total = _EXACT.add(total, _EXACT.multiply(price, quantity))
    return total


def context_members(event: Event) -> ContextMembers:
    """The event's context."""
    raw = event.wire.context
    try:
        return _context_members(raw) if _is_object(raw) else ContextMembers()
    except _UNREADABLE as exc:
        raise _unreadable("context", exc) from exc


def personas(context: ContextMembers) -> Personas:
    """What Engage says of the event."""
    try:
        return _personas(context.personas) if _is_object(context.personas) else Personas()
    except _UNREADABLE as exc:
        raise _unreadable("context.personas", exc) from exc


def trait_email(raw: msgspec.Raw, name: str) -> FieldRef:
    """The email within the traits in `raw`, in whatever spelling."""
    try:
        members = _trait_members(raw) if _is_object(raw) else TraitMembers()
    except _UNREADABLE as exc:
        raise _unreadable(name, exc) from exc
    if has_value(members.email):
        return FieldRef(f"{name}.email", members.email)
    others = exact_members(raw, EMAIL)
    return FieldRef(f"{name}.email", members.email if others is None else others["email"])


def email_beside(event: Event) -> FieldRef:
    """The event's own email where its sender does not spell it `email`: the last place that is looked at."""
    if b"mail" not in event.raw.lower():
        return FieldRef("event.email", msgspec.Raw())
    others = exact_members(event.raw, EMAIL)
    return FieldRef("event.email", msgspec.Raw() if others is None else others["email"])


def traits(event: Event) -> dict[str, msgspec.Raw]:
    """All traits of an identify call."""
    raw = event.wire.traits
    try:
        return _any_members(raw) if _is_object(raw) else {}
    except _UNREADABLE as exc:
        raise _unreadable("traits", exc) from exc


def json_value(place: FieldRef) -> object:
    """The JSON value of a place, floats as they are; for values that are passed on, not counted."""
    try:
        return msgspec.json.decode(place.raw)
    except _UNREADABLE as exc:
        raise _unreadable(place.name, exc) from exc


def read_email(places: Sequence[FieldRef]) -> str:
    """The first email that is present, trimmed.

    Raises:
        RefusedError: `missing_email` or `invalid_email`.
    """
    email = find_email(places)
    if email is not None:
        return email
    looked = ", ".join(place.name for place in places)
    raise RefusedError(
        f"the event has no email address, so nobody can be given points; looked at {looked}", code="missing_email"
    )


def find_email(places: Sequence[FieldRef]) -> str | None:
    """The first email that is present, trimmed; None if there is none.

    Raises:
        RefusedError: `invalid_email`.
    """
    for place in places:
        value = _value(place)
        if isinstance(value, str):
            value = value.strip()
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise RefusedError(f"{place.name} is {_kind(value)}, not an email address", code="invalid_email")
        if not is_email(value):
            raise RefusedError(f"{place.name} is not an email address: {shown(value)}", code="invalid_email")
        return value
    return None


def is_email(text: str) -> bool:
    """Whether Perkville could have a customer with this address.

    One `@`, at most 254 characters, no blanks, control characters or quoting, a domain of at least two labels; letters
    of all scripts are allowed.
    """
    match = _EMAIL.fullmatch(text)
    # Lower-cased, some letters become two, and the lower-cased form is the one that names the customer's ordering key.
    if match is None or len(text.lower()) > EMAIL_CHARACTERS_MAX or not text.isprintable():
        return False
    labels = match["domain"].split(".")
    return len(labels) > 1 and all(_DOMAIN_LABEL.fullmatch(label) for label in labels)


def read_id(place: FieldRef) -> str | None:
    """An id given as text or whole number, trimmed; None if there is none. Both `1001.0` and `"1001.0"` are 1001.

    Raises:
        RefusedError: `invalid_order_id` or `invalid_refund_id`.
    """
    value = _value(place)
    if value is None:
        return None
    code = f"invalid_{place.name.rpartition('.')[2]}"
    text = id_text(value)
    if text is None:
        kind = f"{_kind(value)}, not text or a whole number"
        if isinstance(value, int | Decimal) and not isinstance(value, bool) and value >= _LONGEST_ID:
            kind = "a number of too many digits"
        raise RefusedError(f"{place.name} is {kind}", code=code)
    text = normalize_id(text.strip())
    if len(text) > ORDER_ID_CHARACTERS_MAX:
        raise RefusedError(
            f"{place.name} has {len(text)} characters, at most {ORDER_ID_CHARACTERS_MAX} are taken", code=code
        )
    if not text.isprintable():
        raise RefusedError(f"{place.name} has control characters: {shown(text)}", code=code)
    return text or None


def id_note(place: FieldRef, read: str | None) -> str | None:
    """The sentence for the trace if an id was read as another text than its sender wrote; None if not."""
    sent = bytes(place.raw).strip()
    if read is None or sent in (read.encode(), b'"%s"' % read.encode()):
        return None
    value = _value(place)
    if isinstance(value, str) and value.strip() == read:
        return None
    return f"{place.name} was sent as {shown(value)} and is read as {read}."


def read_amount(places: Sequence[FieldRef], *, may_be_negative: bool = False) -> Decimal | None:
    """The first amount that is present, rounded half up to cents; None if there is none.

    Never zero and never a float: `30.000000000000004` is 30, `"9.99"` is 9.99, 19.995 is 20. Null and blank text are
    absent.

    Args:
        may_be_negative: True where a negative amount is the same amount taken back; it is returned without its sign.

    Raises:
        RefusedError: `invalid_amount` if the first one present cannot be counted, `zero_amount` if it is zero.
    """
    for place in places:
        if has_value(place.raw):
            amount = _number(place.name, _value(place))
            return countable(place.name, amount.copy_abs() if may_be_negative else amount)
    return None


def countable(name: str, amount: Decimal) -> Decimal:
    """An amount as it is counted: rounded half up to cents, in its shortest form.

    Raises:
        RefusedError: `invalid_amount` if it is negative or larger than any amount, `zero_amount` if it is zero.
    """
    if amount < 0:
        raise RefusedError(
            f"{name} is negative: {shown(amount)}; a refund is an event with Refund in its name",
            code="invalid_amount",
        )
    if amount > AMOUNT_MAX:
        raise RefusedError(f"{name} is larger than any amount: {shown(amount)}", code="invalid_amount")
    cents = amount.quantize(_CENT, context=_EXACT)
    if not cents:
        rounded = "" if not amount else f" (rounded from {shown(amount)})"
        raise RefusedError(f"{name} is zero{rounded}: recorded, no points to give or take", code="zero_amount")
    return _shortest(cents)


def _factor(place: FieldRef) -> Decimal:
    number = _number(place.name, _value(place))
    if number.copy_abs() > AMOUNT_MAX:
        raise RefusedError(f"{place.name} is larger than any amount: {shown(number)}", code="invalid_amount")
    return number


def _number(name: str, value: object) -> Decimal:
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise RefusedError(
                f'{name} is {shown(value)}, not an amount: send it as a number such as 9.99, or as text such as "9.99"',
                code="invalid_amount",
            )
        return Decimal(text)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    raise RefusedError(f"{name} is {_kind(value)}, not an amount", code="invalid_amount")


def _shortest(amount: Decimal) -> Decimal:
    # 50.00 and 5E+1 are both 50: one amount has one form, so that equal contents compare equal in the ledger.
    shortest = amount.normalize(_EXACT)
    return shortest.quantize(Decimal(1), context=_EXACT) if shortest == shortest.to_integral_value() else shortest


def shown(value: object) -> str:
    """A value of an event as a message shows it: quoted, on one line, not longer than a line."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else f"{value!s}"
    return f'"{text[:_SHOWN_CHARACTERS_MAX]}"' if isinstance(value, str) else text[:_SHOWN_CHARACTERS_MAX]


def _value(place: FieldRef) -> object:
    # An absent member is an empty Raw.
    if not place.raw:
        return None
    try:
        return _decode_value(place.raw)
    except _UNREADABLE as exc:
        raise _unreadable(place.name, exc) from exc


def _is_object(raw: msgspec.Raw) -> bool:
    # A value that is not an object has no members; the text may begin with blanks.
    return bool(raw) and bytes(raw).lstrip(b" \t\r\n").startswith(b"{")


def _unreadable(name: str, exc: BaseException) -> RefusedError:
    return RefusedError(
        f"{name} cannot be read: {str(exc)[:_SHOWN_CHARACTERS_MAX] or type(exc).__name__}", code="unreadable_value"
    )


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return "text"
        case int() | Decimal():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"
