"""Which texts name a deleted person, and which only have an id of another person in which theirs is contained."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.profiles.erasure import ERASED, ErasedIds
from punchcard.testing.examples import examples

ANN = ErasedIds(emails=frozenset({"ann@acme.com"}), user_ids=frozenset({"user-1"}), anonymous_ids=frozenset({"7"}))
# So many ids are searched for word by word.
MANY = ErasedIds(
    emails=frozenset({"ann@acme.com", *(f"person{number}@example.com" for number in range(200))}),
    user_ids=frozenset({"user-1"}),
)


@pytest.mark.parametrize("ids", [ANN, MANY], ids=["few", "many"])
@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("ann@acme.com", ERASED),
        ("Ann@ACME.com is not known.", f"{ERASED} is not known."),
        ("The customer is ann@acme.com.", f"The customer is {ERASED}."),
        ('{"email":"ann@acme.com","id":"user-1"}', f'{{"email":"{ERASED}","id":"{ERASED}"}}'),
        ("mailto:ann@acme.com?subject=7", f"mailto:{ERASED}?subject=7"),
    ],
)
def test_ids_of_a_subject_are_found_and_replaced(ids: ErasedIds, text: str, scrubbed: str) -> None:
    assert ids.mentions(text)
    assert ids.scrub(text) == scrubbed


@pytest.mark.parametrize("ids", [ANN, MANY], ids=["few", "many"])
@pytest.mark.parametrize(
    "text", ["order-ann@acme.com", "user-1-2026", "visit_user-1", "--user-1", "a user-1\u2019s visit", "*user-1*"]
)
def test_ids_that_a_system_made_of_an_id_name_the_person(ids: ErasedIds, text: str) -> None:
    assert ids.mentions(text)
    assert ERASED in ids.scrub(text)


@pytest.mark.parametrize("ids", [ANN, MANY], ids=["few", "many"])
@pytest.mark.parametrize("before", ["\n", "\t", "\r", "\b", "\f", "\x01", "\u00e9 "])
def test_an_escape_of_json_is_no_part_of_an_id(ids: ErasedIds, before: str) -> None:
    text = json.dumps({"note": f"see{before}ann@acme.com{before}"})
    assert ids.mentions(text)
    assert "ann" not in ids.scrub(text)


@pytest.mark.parametrize("others", [0, 200], ids=["few", "many"])
@pytest.mark.parametrize("id_", ["m\u00fcller-4711", "\u00fcbung-1", '"ann" 4711', "Stra\u00dfe 7"])
def test_ids_that_json_writes_with_escapes_are_found_and_replaced(id_: str, others: int) -> None:
    ids = ErasedIds(user_ids=frozenset({id_, *(f"person-{number}" for number in range(others))}))
    for ensures_ascii in (True, False):
        text = json.dumps({"userId": id_, "name": "Bob"}, ensure_ascii=ensures_ascii)
        assert ids.mentions(text)
        assert json.loads(ids.scrub(text)) == {"userId": ERASED, "name": "Bob"}


@settings(max_examples=examples(300, part=100))
@given(
    values=st.lists(st.text("ann@b.-_+1\u00fc", min_size=1, max_size=9), min_size=1, max_size=4),
    text=st.text("ann@b.-_+1\u00fc \\n", max_size=40),
)
def test_thousands_of_ids_are_found_as_few_are(values: list[str], text: str) -> None:
    few = ErasedIds(user_ids=frozenset(values))
    many = ErasedIds(user_ids=frozenset({*values, *(f"somebody-{number}" for number in range(200))}))
    for whole in (text, *(f"{text}{value}" for value in values), *(f"{value}{text}" for value in values)):
        assert many.mentions(whole) == few.mentions(whole)
        assert many.scrub(whole) == few.scrub(whole)


@pytest.mark.parametrize("ids", [ANN, MANY], ids=["few", "many"])
@pytest.mark.parametrize(
    "text",
    [
        "joann@acme.com",
        "mary.ann@acme.com",
        "7ann@acme.com",
        "gym+ann@acme.com",
        "\u00e4ann@acme.com",
        "ann@acme.com.au",
        "ann@acme.community",
        "user-12",
        "superuser-1",
        "7",
        "",
    ],
)
def test_ids_of_others_that_contain_one_of_a_subject_are_left_alone(ids: ErasedIds, text: str) -> None:
    assert not ids.mentions(text)
    assert ids.scrub(text) == text
    both = f"{text} and ann@acme.com"
    assert ids.scrub(both) == f"{text} and {ERASED}"
