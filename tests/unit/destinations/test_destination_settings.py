"""Settings are read as their fields say, and everything that is wrong is named at once."""

from collections.abc import Mapping

import pytest

from punchcard.destinations.definition import FieldType, SettingField
from punchcard.destinations.delivery_options import read_delivery
from punchcard.destinations.port import DeliveryOptions
from punchcard.destinations.settings import SettingsProblem, Values, read_section, refuse
from punchcard.errors import ConfigurationError

FIELDS = (
    SettingField(key="apiKey", label="", description="", type=FieldType.STRING, required=True, secret=True),
    SettingField(key="sendEmail", label="", description="", type=FieldType.BOOLEAN, default=False),
    SettingField(key="rate", label="", description="", type=FieldType.NUMBER, default=2, minimum=0, maximum=100),
    SettingField(key="tries", label="", description="", type=FieldType.NUMBER, default=10, whole=True),
    SettingField(key="method", label="", description="", type=FieldType.SELECT, default="a", choices=("a", "b")),
    SettingField(key="names", label="", description="", type=FieldType.ARRAY, default=()),
    SettingField(key="map", label="", description="", type=FieldType.TEXT_MAP, default={}),
)


def problems_of(given: Mapping[str, object]) -> list[str]:
    problems: list[SettingsProblem] = []
    read_section("settings", FIELDS, {"apiKey": "k", **given}, problems=problems)
    return [str(problem) for problem in problems]


def test_what_is_left_out_or_null_has_its_default() -> None:
    values = read_section("settings", FIELDS, {"apiKey": "k", "rate": None}, problems=[])
    assert values is not None
    assert values.text("apiKey") == "k"
    assert values.flag("sendEmail") is False
    assert (values.number("rate"), values.number("tries")) == (2, 10)
    assert values.text("method") == "a"
    assert values.texts("names") == ()
    assert dict(values.text_map("map")) == {}


def test_what_is_given_is_read() -> None:
    given = {
        "apiKey": "k",
        "sendEmail": True,
        "rate": 0.5,
        "tries": 3,
        "method": "b",
        "names": ["x"],
        "map": {"Checked In": "1"},
    }
    values = read_section("settings", FIELDS, given, problems=[])
    assert values is not None
    assert values.flag("sendEmail") is True
    assert values.number("rate") == 0.5
    assert values.texts("names") == ("x",)
    assert dict(values.text_map("map")) == {"Checked In": "1"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"apiKey": None}, "settings.apiKey: is required", id="required-missing"),
        pytest.param({"apiKey": "  "}, "settings.apiKey: is required", id="required-blank"),
        pytest.param(
            {"apiKey": 5}, "settings.apiKey: must be text, not a number: put it in quotes", id="number-as-text"
        ),
        pytest.param({"apiKey": True}, "settings.apiKey: must be text, not true or false", id="flag-as-text"),
        pytest.param(
            {"apiKey": "a\nb"}, "settings.apiKey: must not contain control characters", id="control-character"
        ),
        pytest.param({"sendemail": True}, 'settings.sendemail: is not known; did you mean "sendEmail"?', id="misspelt"),
        pytest.param({"sendEmail": "yes"}, "settings.sendEmail: must be true or false, not text", id="text-as-flag"),
        pytest.param({"sendEmail": 1}, "settings.sendEmail: must be true or false, not a number", id="number-as-flag"),
        pytest.param({"rate": "2"}, "settings.rate: must be a number, not text", id="text-as-number"),
        pytest.param({"rate": True}, "settings.rate: must be a number, not true or false", id="flag-as-number"),
        pytest.param({"rate": -1}, "settings.rate: must be at least 0, is -1", id="too-small"),
        pytest.param({"rate": 101}, "settings.rate: must be at most 100, is 101", id="too-large"),
        pytest.param({"rate": float("nan")}, "settings.rate: must be a number of usual size", id="nan"),
        pytest.param({"rate": 10**400}, "settings.rate: must be a number of usual size", id="beyond-floats"),
        pytest.param({"tries": 1.5}, "settings.tries: must be a whole number, is 1.5", id="not-whole"),
        pytest.param({"method": "c"}, 'settings.method: must be one of a, b, is "c"', id="no-such-choice"),
        pytest.param({"names": "x"}, "settings.names: must be a list of text, not text", id="text-as-list"),
        pytest.param(
            {"names": ["x", 1]}, "settings.names.1: must be text, not a number: put it in quotes", id="in-list"
        ),
        pytest.param({"map": ["x"]}, "settings.map: must be a table of text to text, not a list", id="list-as-table"),
        pytest.param(
            {"map": {"Checked In": 5}},
            "settings.map.Checked In: must be text, not a number: put it in quotes",
            id="in-table",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named(given: Mapping[str, object], expected: str) -> None:
    assert problems_of(given) == [expected]


@pytest.mark.parametrize("name", ["نمی\u200cخواهم", "👨\u200d👩\u200d👧 Booked", "Checked\u00a0In", "\u200fהזמנה"])
def test_names_of_any_script_are_names(name: str) -> None:
    assert problems_of({"apiKey": "k", "map": {name: "1"}}) == []


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\x85", " ", ""])
def test_control_characters_are_no_names(name: str) -> None:
    (problem,) = problems_of({"apiKey": "k", "map": {name: "1"}})
    assert problem == f"settings.map: {name!r} cannot be a name: it is empty or has control characters"


def test_an_unknown_key_far_from_all_others_lists_them() -> None:
    assert problems_of({"zzz": 1}) == [
        "settings.zzz: is not known; known: apiKey, map, method, names, rate, sendEmail, tries"
    ]


def test_all_problems_are_reported_at_once_one_line_each() -> None:
    problems: list[SettingsProblem] = []
    assert read_section("settings", FIELDS, {"rate": "x", "foo": 1}, problems=problems) is None
    with pytest.raises(ConfigurationError) as caught:
        refuse(problems)
    assert [line.partition(":")[0] for line in caught.value.message.splitlines()] == [
        "settings.foo",
        "settings.apiKey",
        "settings.rate",
    ]


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    assert "s3cret" not in " ".join(problems_of({"sendEmail": "s3cret", "apiKey": ["s3cret"]}))


def test_delivery_options_are_read_by_the_keys_that_all_destinations_share() -> None:
    options = {
        "requestsPerSecond": 7,
        "concurrency": 5,
        "retryBaseSeconds": 2,
        "retryAttemptsMax": 4,
        "unknownWaitSeconds": 11,
        "requestTimeoutSeconds": 3,
    }
    assert read_delivery(Values(options)) == DeliveryOptions(
        requests_per_second=7,
        concurrency=5,
        retry_base_seconds=2,
        tries_max=4,
        unknown_wait_seconds=11,
        request_timeout_seconds=3,
    )


def test_a_delivery_option_without_a_field_has_its_default() -> None:
    assert read_delivery(Values({"retryAttemptsMax": 4})) == DeliveryOptions(tries_max=4)
