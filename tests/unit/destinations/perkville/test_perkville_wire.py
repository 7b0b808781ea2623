"""What the wire says can be changed name by name, and answers are read whatever shape they have."""

import json
from dataclasses import fields
from decimal import Decimal

import pytest

from punchcard.destinations.perkville.definition import TRANSACTION
from punchcard.destinations.perkville.perks import Direction, Perk, read_perk, signed_quantity
from punchcard.destinations.perkville.settings import RefundMethod
from punchcard.destinations.perkville.wire import (
    DEFAULT_WIRE,
    Wire,
    amount_of,
    id_of,
    list_page,
    override_names,
    post_transaction,
    read_wire,
)
from punchcard.destinations.port import Effect, EffectKey
from punchcard.errors import RejectedError
from punchcard.events.commerce import amount_text

EFFECT = Effect(
    kind=TRANSACTION,
    effect_key=EffectKey("SEG:s:EVENT:m1"),
    email="ann+x@example.com",
    event_name="Checked In",
    item="5",
    quantity=Decimal("9.99"),
    attributes=None,
)


def body_under(**overrides: str) -> dict[str, object]:
    problems: list[object] = []
    wire = read_wire(overrides, problems=problems)  # type: ignore[arg-type]
    assert not problems
    request = post_transaction(wire, EFFECT, Decimal("9.99"), business_id="41", location_id="7", send_email=False)
    decoded: dict[str, object] = json.loads(request.body or b"")
    return decoded


def test_every_name_can_be_replaced() -> None:
    assert len(override_names()) == len(fields(Wire))
    changed = {"locationKey": "", "sendEmailKey": "", "perkKey": "perk_id", "perkReference": "{id}", "emailKey": "user"}
    assert body_under(**changed) == {
        "business": "/v2/businesses/41/",
        "perk_id": "5",
        "user": "ann+x@example.com",
        "quantity": "9.99",
        "trans_source_id": "SEG:s:EVENT:m1",
    }


def test_the_quantity_may_be_a_number_and_the_email_switch_turned_round() -> None:
    body = body_under(quantityForm="number", sendEmailInverted="true", sendEmailKey="suppress_email")
    assert body["quantity"] == 9.99
    assert body["suppress_email"] is True


def test_an_address_in_a_query_is_encoded() -> None:
    request = list_page(DEFAULT_WIRE, "/v2/transactions/", business_id="41", email="ann+x@example.com", offset=100)
    assert request.path == (
        "/v2/transactions/?business=41&user__emails__email=ann%2Bx%40example.com&limit=100&offset=100"
    )


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("9.99", "9.99"),
        ("50.00", "50"),
        ("1E+3", "1000"),
        ("-0.50", "-0.5"),
        ("0.00", "0"),
        ("-0", "0"),
        ("100", "100"),
    ],
)
def test_amounts_are_written_without_exponent_and_needless_zeros(amount: str, text: str) -> None:
    assert amount_text(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("9.99", "9.99"),
        (" 9 ", "9"),
        (9, "9"),
        (Decimal("9.9"), "9.9"),
        (True, None),
        (None, None),
        ("x", None),
        ("NaN", None),
        ([], None),
    ],
)
def test_an_answered_amount_is_text_or_number(value: object, amount: str | None) -> None:
    assert amount_of(value) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(41, "41"), ("41", "41"), ("/v2/businesses/41/", "41"), ("", None), (None, None), (True, None), ([41], None)],
)
def test_an_id_is_a_number_a_text_or_a_uri(value: object, expected: str | None) -> None:
    assert id_of(value) == expected


def perk(classification: object) -> Perk:
    return read_perk({"classification": classification}, "5", DEFAULT_WIRE)


@pytest.mark.parametrize(
    ("classification", "direction"),
    [
        ("EARN", Direction.EARNS),
        ("earn", Direction.EARNS),
        (" Redeem ", Direction.REDEEMS),
        ("ACTIVITY", Direction.UNCLEAR),
        (None, Direction.UNCLEAR),
        (1, Direction.UNCLEAR),
    ],
)
def test_a_perks_direction(classification: object, direction: Direction) -> None:
    assert perk(classification).direction is direction


@pytest.mark.parametrize(
    ("quantity", "classification", "method", "sent"),
    [
        pytest.param("9.99", "EARN", "auto", "9.99", id="award"),
        pytest.param("-9.99", "EARN", "auto", "-9.99", id="removal-by-a-negative-quantity"),
        pytest.param("-9.99", "REDEEM", "auto", "9.99", id="removal-by-redeeming"),
        pytest.param("-9.99", "EARN", "negative", "-9.99", id="negative"),
        pytest.param("-9.99", "REDEEM", "redeem", "9.99", id="redeem"),
        pytest.param("9.99", "REDEEM", "auto", None, id="an-award-never-takes"),
        pytest.param("-9.99", "REDEEM", "negative", None, id="a-removal-never-gives"),
        pytest.param("-9.99", "EARN", "redeem", None, id="redeem-needs-a-perk-that-redeems"),
        pytest.param("9.99", "ACTIVITY", "auto", None, id="unclear-award"),
        pytest.param("-9.99", "ACTIVITY", "auto", None, id="unclear-removal"),
    ],
)
def test_a_quantity_is_sent_so_that_it_has_the_requested_sign(
    quantity: str, classification: str, method: str, sent: str | None
) -> None:
    def send() -> Decimal:
        return signed_quantity(
            Decimal(quantity), perk(classification), method=RefundMethod(method), event_name="Order Refunded"
        )

    if sent is None:
        with pytest.raises(RejectedError) as caught:
            send()
        assert caught.value.code == "perk_unusable"
    else:
        assert send() == Decimal(sent)
