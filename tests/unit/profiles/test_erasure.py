"""Which texts name a deleted person, and which only have an id of another person in which theirs is contained."""

import json

import pytest

from punchcard.profiles.erasure import ERASED, ErasedIds

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


@pytest.mark.parametrize("text", ["order-ann@acme.com", "user-1-2026", "visit_user-1", "a user-1\u2019s visit"])
def test_ids_that_a_system_made_of_an_id_name_the_person(text: str) -> None:
    assert ANN.mentions(text)
    assert ERASED in ANN.scrub(text)


@pytest.mark.parametrize("before", ["\n", "\t", "\r", "\b", "\f", "\x01", "\u00e9 "])
def test_an_escape_of_json_is_no_part_of_an_id(before: str) -> None:
    text = json.dumps({"note": f"see{before}ann@acme.com{before}"})
    assert ANN.mentions(text)
    assert "ann" not in ANN.scrub(text)


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
