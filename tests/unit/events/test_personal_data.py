"""What looks like personal data, by its form or by the name of its property; and what never may be kept as a value."""

import json

import msgspec
import pytest

from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.observed_properties import PATHS_MAX, Observation, observe_properties
from punchcard.events.personal_data import PersonalData, has_check_digit, personal_name, personal_value
from punchcard.testing.clock import ManualClock

NOW = ManualClock().now()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("ann@example.com", PersonalData.EMAIL),
        ("Ann <ann@example.co.uk>", PersonalData.EMAIL),
        ("mail to ann@example.com please", PersonalData.EMAIL),
        ("+41 79 123 45 67", PersonalData.PHONE),
        ("(555) 123-4567", PersonalData.PHONE),
        ("0791234567", PersonalData.PHONE),
        ("call 555-123-4567 now", PersonalData.PHONE),
        ("4111 1111 1111 1111", PersonalData.CARD_NUMBER),
        ("4111111111111111", PersonalData.CARD_NUMBER),
        ("card 4111-1111-1111-1111", PersonalData.CARD_NUMBER),
        (4111111111111111, PersonalData.CARD_NUMBER),
        (378282246310005, PersonalData.CARD_NUMBER),
        ("order-1795867350184728248", PersonalData.PHONE),  # its check digit is right, and it is a time in nanoseconds
        (1795867350184728248, None),
        ("192.168.1.17", PersonalData.IP_ADDRESS),
        ("2001:db8:0:0:0:0:2:1", PersonalData.IP_ADDRESS),
        ("4111111111111112", PersonalData.PHONE),  # not a card, but still too long a number to be kept
        (4111111111111112, None),
        (10**400, None),
        (42, None),
        ("2026-11-27", None),
        ("2026-11-27T10:00:00.000Z", None),
        ("2026-11-27 10:00", None),
        ("10:30:00", None),
        ("129.90", None),
        ("12345678.123456789", None),
        ("Yoga Mat", None),
        ("A-1001", None),
        ("1.2.3", None),
        ("@gym", None),
        ("premium", None),
        ("", None),
    ],
)
def test_a_value_is_recognized_by_its_form(value: str | int, kind: PersonalData | None) -> None:
    assert personal_value(value) is kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (["email"], PersonalData.EMAIL),
        (["E-mail Address"], PersonalData.EMAIL),
        (["phone_number"], PersonalData.PHONE),
        (["firstName"], PersonalData.NAME),
        (["customer", "name"], PersonalData.NAME),
        (["billing_address", "city"], PersonalData.ADDRESS),
        (["date_of_birth"], PersonalData.BIRTH_DATE),
        (["userId"], PersonalData.PERSON_ID),
        (["access_token"], PersonalData.SECRET),
        (["context", "ip"], PersonalData.IP_ADDRESS),
        (["name"], None),  # of a product
        (["products", "name"], None),
        (["order_id"], None),
        (["email_opt_in"], None),
        ([], None),
    ],
)
def test_a_property_is_recognized_by_its_name(path: list[str], kind: PersonalData | None) -> None:
    assert personal_name(tuple(path)) is kind


def test_the_check_digit_of_cards() -> None:
    numbers = [f"411111111111111{digit}" for digit in range(10)]
    assert [number for number in numbers if has_check_digit(number)] == ["4111111111111111"]
    assert not has_check_digit("0" * 16)


def observe(members: object, type_: EventType = EventType.TRACK, **wire: str) -> dict[str, Observation]:
    raw = msgspec.Raw(members if isinstance(members, bytes) else json.dumps(members).encode())
    traits = type_ in (EventType.IDENTIFY, EventType.GROUP)
    envelope = WireEvent(**{"traits" if traits else "properties": raw, **wire})  # type: ignore[arg-type]
    event = Event(type_, MessageId("m"), NOW, NOW, envelope, b"{}")
    observations = observe_properties(event)
    return {observation.path: observation for observation in observations}


def test_types_forms_and_values() -> None:
    seen = observe(
        {
            "total": 9.5,
            "count": 3,
            "vip": True,
            "none": None,
            "plan": "gold",
            "at": "2026-11-27T10:00:00Z",
            "page": "https://example.com/classes",
            "key": "550e8400-e29b-41d4-a716-446655440000",
        }
    )
    assert {path: (item.type.value, item.format, item.value) for path, item in seen.items()} == {
        "total": ("number", "", "9.5"),
        "count": ("integer", "", "3"),
        "vip": ("boolean", "", "true"),
        "none": ("null", "", None),
        "plan": ("string", "", '"gold"'),
        "at": ("string", "date-time", '"2026-11-27T10:00:00Z"'),
        "page": ("string", "uri", '"https://example.com/classes"'),
        "key": ("string", "uuid", None),
    }


@pytest.mark.parametrize(
    "value",
    ["ann@example.com", "x" * 61, "https://example.com/?token=abc", "two\nlines", "", 123456789, {"a": 1}, [1], None],
)
def test_a_value_that_must_not_be_kept(value: object) -> None:
    assert observe({"x": value})["x"].value is None


def test_paths_of_nested_objects_and_lists() -> None:
    seen = observe(
        {"a": {"b": {"c": 1}}, "products": [{"sku": "s1", "price": 1}, {"sku": "s2"}], "odd.name": 1, "x y": 1}
    )
    assert list(seen) == ["a", "a.b", "a.b.c", "products", "products[].sku", "products[].price", "odd\\.name", "x\\ y"]
    assert seen["products[].sku"].value == '"s1"'


def test_a_name_of_a_person_is_not_the_name_of_a_product() -> None:
    assert observe({"name": "Ann Miller"}, EventType.IDENTIFY)["name"].personal is PersonalData.NAME
    assert observe({"name": "Yoga Mat"})["name"].personal is None


def test_a_page_has_its_name() -> None:
    assert observe({}, EventType.PAGE, name="Home")["name"].value == '"Home"'


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b'{"a":', b"\xff", b'{"a":' + b"[" * 5_000])
def test_members_that_cannot_be_read_have_no_properties(text: bytes) -> None:
    assert observe(text) == {}


def test_an_event_is_read_to_a_bound() -> None:
    assert len(observe({f"p{number}": number for number in range(1_000)})) == PATHS_MAX
    deep: object = 1
    for _ in range(50):
        deep = {"d": deep}
    assert len(observe(deep)) == 5
    assert observe({"x" * 161: 1}) == {}


def test_an_item_of_a_list_is_recognized_wherever_it_is() -> None:
    """A list has one path for all its items, of which each may be a card number."""
    card = "4111 1111 1111 1111"
    assert observe({"cards": ["x", 7, None, card]})["cards"].personal is PersonalData.CARD_NUMBER
    assert observe({"cards": ["x", True, {"card": card}]})["cards"].personal is None
    seen = observe({"products": [{"note": "gift"}, {"note": "a"}, {"note": card}]})["products[].note"]
    assert (seen.personal, seen.value, seen.is_first) == (PersonalData.CARD_NUMBER, None, True)
