from pathlib import Path

import pytest

from punchcard.errors import ConfigurationError
from punchcard.profiles.rules import IdentityRules
from punchcard.workspace.file import read_content, read_file
from punchcard.workspace.model import Destination, DestinationFilter, Source, Workspace

EXAMPLE = """\
[workspace]
name = "Acme Fitness"
timezone = "America/Los_Angeles"

[[sources]]
slug = "website"
name = "Website"                 # optional
write_key = "wk_website"         # may be "${ENV_NAME}", as every string may

[[sources]]
slug = "pos"
write_keys = ["wk_pos", "wk_pos_next"]
enabled = false

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "pos"]
enabled = true
[destinations.settings]          # the five settings, Segment's keys
apiKey = "${PERKVILLE_API_KEY}"
businessId = "41"
locationId = "7"
sendEmail = false
eventToPerkMap = { "Order Completed" = "123456", "Checked In" = "123457" }
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9100"
requestsPerSecond = 2
oncePerDay = ["Checked In"]
[[destinations.filters]]
title = "no staff"
if = "contains( properties.email, '@acme.example' )"
enabled = false
actions = [{ type = "DROP" }]
"""
ENVIRONMENT = {"PERKVILLE_API_KEY": "token-of-acme-1234"}


def read(text: str, environment: dict[str, str] | None = None) -> Workspace:
    return read_content(text.encode(), "punchcard.toml", environment=environment or ENVIRONMENT)


def problems(text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, environment)
    return caught.value.message.splitlines()


def test_whole_example_is_read_to_a_workspace() -> None:
    assert read(EXAMPLE) == Workspace(
        name="Acme Fitness",
        timezone="America/Los_Angeles",
        sources=(
            Source(slug="website", name="Website", write_keys=("wk_website",)),
            Source(slug="pos", name="pos", write_keys=("wk_pos", "wk_pos_next"), enabled=False),
        ),
        destinations=(
            Destination(
                slug="perkville",
                type="perkville",
                sources=("website", "pos"),
                settings={
                    "apiKey": "token-of-acme-1234",
                    "businessId": "41",
                    "locationId": "7",
                    "sendEmail": False,
                    "eventToPerkMap": {"Order Completed": "123456", "Checked In": "123457"},
                },
                options={
                    "apiBaseUrl": "http://127.0.0.1:9100",
                    "requestsPerSecond": 2,
                    "oncePerDay": ["Checked In"],
                },
                filters=(
                    DestinationFilter(
                        title="no staff",
                        condition="contains( properties.email, '@acme.example' )",
                        enabled=False,
                        actions=({"type": "DROP"},),
                    ),
                ),
            ),
        ),
    )


def test_single_source_is_named_by_source() -> None:
    text = EXAMPLE.replace('sources = ["website", "pos"]', 'source = "pos"')
    assert read(text).destinations[0].sources == ("pos",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("${NAME}", "Acme", id="whole text"),
        pytest.param("The ${NAME} gym of ${CITY}", "The Acme gym of Oslo", id="inside text"),
        pytest.param("costs $5 or {5}", "costs $5 or {5}", id="lone dollar"),
        pytest.param("$${NAME}", "${NAME}", id="escaped"),
        pytest.param("$$${NAME}", "$${NAME}", id="escaped after a dollar"),
        pytest.param("${NESTED}", "${NAME}", id="a value is not filled in again"),
    ],
)
def test_variables_are_filled_in_anywhere_in_a_text(written: str, meant: str) -> None:
    environment = {"NAME": "Acme", "CITY": "Oslo", "NESTED": "${NAME}"}
    assert read(f'[workspace]\nname = "{written}"', environment).name == meant


MINIMAL = """\
[[sources]]
slug = "website"
write_key = "wk"
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "k"
businessId = "41"
locationId = "7"
sendEmail = false
eventToPerkMap = {}
"""


def test_minimal_file_is_valid() -> None:
    assert read(MINIMAL).name == Workspace().name


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            '"wk"', '"${WK}"', "3: sources.website.write_key: The environment variable WK is not set", id="env"
        ),
        pytest.param('"wk"', '"${WK"', '3: sources.website.write_key: "${" must be followed by', id="open brace"),
        pytest.param(
            '"wk"', '"w k"', "3: sources.website.write_key: A write key has 1 to 128", id="blank in write key"
        ),
        pytest.param('"wk"', '""', "3: sources.website.write_key: A write key has 1 to 128", id="empty write key"),
        pytest.param('"wk"', "7", "3: sources.website.write_key: Must be text, not a number", id="number as text"),
        pytest.param(
            'write_key = "wk"', "write_keys = []", "3: sources.website.write_keys: Add at least one", id="no key"
        ),
        pytest.param(
            'write_key = "wk"',
            'write_keys = ["a", "a"]',
            '3: sources.website.write_keys: "a" is listed',
            id="key twice",
        ),
        pytest.param(
            'write_key = "wk"', "", '1: sources.website.write_keys: Is missing. Set "write_key"', id="key left out"
        ),
        pytest.param(
            'write_key = "wk"',
            'write_key = "wk"\nwrite_keys = ["b"]',
            '4: sources.website.write_keys: Set either "write_key" or "write_keys", not both',
            id="key and keys",
        ),
        pytest.param(
            'source = "website"', 'source = "web"', "7: destinations.perkville.source: There is no", id="source"
        ),
        pytest.param(
            'source = "website"', "", '4: destinations.perkville.sources: Is missing. Set "source"', id="no source"
        ),
        pytest.param('type = "perkville"', 'type = "gym"', "6: destinations.perkville.type: There is no", id="type"),
        pytest.param('slug = "website"', 'slug = "Web Site"', "is not a slug", id="bad slug"),
        pytest.param('slug = "website"', "", "1: sources[0].slug: Is missing", id="no slug"),
        pytest.param(
            'write_key = "wk"',
            'write_key = "wk"\nenabled = "no"',
            "4: sources.website.enabled: Must be true or",
            id="flag",
        ),
        pytest.param(
            'write_key = "wk"',
            'write_key = "wk"\ncolour = 1',
            "4: sources.website.colour: Unknown key. Known",
            id="key",
        ),
        pytest.param(
            'write_key = "wk"', 'write_key = "wk"\nenabeld = true', 'Unknown key. Did you mean "enabled"?', id="typo"
        ),
        pytest.param('apiKey = "k"', "apiKey = 5", "9: destinations.perkville.settings.apiKey: ", id="setting type"),
        pytest.param('apiKey = "k"', "", "8: destinations.perkville.settings.apiKey: ", id="setting missing"),
        pytest.param(
            'apiKey = "k"', 'apiKey = "k"\nx = 5', "10: destinations.perkville.settings.x: ", id="setting unknown"
        ),
        pytest.param(
            'apiKey = "k"',
            "apiKey = 2026-01-01",
            "9: destinations.perkville.settings.apiKey: Must be text",
            id="a date",
        ),
        pytest.param(
            'apiKey = "k"', "apiKey = nan", "9: destinations.perkville.settings.apiKey: Must be text", id="nan"
        ),
        pytest.param(
            "eventToPerkMap = {}",
            'eventToPerkMap = { "A.b" = "${NONE}" }',
            '13: destinations.perkville.settings.eventToPerkMap."A.b": The environment variable NONE is not set',
            id="deep in a map",
        ),
        pytest.param(
            "[destinations.settings]", "[destinations.options]", "destinations.perkville.options.", id="options unknown"
        ),
    ],
)
def test_one_mistake_is_one_line_with_file_line_and_key_path(old: str, new: str, expected: str) -> None:
    messages = problems(MINIMAL.replace(old, new, 1))
    assert all(line.startswith("punchcard.toml:") for line in messages)
    assert any(expected in line for line in messages), messages


def test_a_mistake_is_reported_once_and_not_what_follows_from_it() -> None:
    assert len(problems(MINIMAL.replace('"wk"', "7"))) == 1
    assert len(problems(MINIMAL.replace('write_key = "wk"', ""))) == 1
    assert len(problems(MINIMAL.replace('source = "website"', ""))) == 1
    assert len(problems(MINIMAL.replace('apiKey = "k"', "apiKey = nan"))) == 1


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    messages = problems(
        """\
color = "red"
[workspace]
timezone = "Mars/Olympus"
[[sources]]
slug = "website"
write_key = "wk"
[[sources]]
slug = "website"
write_key = "wk"
[[destinations]]
slug = "gym"
type = "swarm"
source = "shop"
[[audiences]]
name = "Loyal"
"""
    )
    expected = [
        "punchcard.toml:1: color: Unknown key",
        "punchcard.toml:14: audiences[0].definition: Is missing",
        'punchcard.toml:3: workspace.timezone: "Mars/Olympus" is not a time zone',
        'punchcard.toml:5: sources[0].slug: "website" is used more than once',
        'punchcard.toml:6: sources[0].write_key: "wk" is also the write key of another sourc',
        'punchcard.toml:8: sources[1].slug: "website" is used more than once',
        'punchcard.toml:9: sources[1].write_key: "wk" is also the write key of another sourc',
        'punchcard.toml:13: destinations.gym.source: There is no source "shop"',
        'punchcard.toml:12: destinations.gym.type: There is no destination of type "swarm"',
    ]
    assert [line[: len(start)] for line, start in zip(messages, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("filter_lines", "expected"),
    [
        pytest.param(
            'title = "t"\nif = "event = "\nactions = [{ type = "DROP" }]',
            "[0].if: at the end: a value is expected",
            id="bad condition",
        ),
        pytest.param(
            'title = "t"\nif = "event 1"\nenabled = false\nactions = [{ type = "DROP" }]',
            '[0].if: at character 7, "1": `and`, `or` or the end is expected',
            id="bad condition of one that is off",
        ),
        pytest.param(
            'title = "t"\nif = "a"\nactions = [{ type = "SAMPLE", percent = 25 }]',
            "must be a number from 0 to 1",
            id="percent in hundreds",
        ),
        pytest.param(
            'if = "a"\nenabled = false\nactions = [{ type = "DROP" }]', "[0].title: Is missing", id="no title"
        ),
        pytest.param(
            f'title = "{"t" * 65}"\nif = "a"\nenabled = false\nactions = [{{ type = "DROP" }}]',
            "Must have 1 to 64 characters, has 65",
            id="long title",
        ),
        pytest.param(
            'title = "  "\nif = "a"\nactions = [{ type = "DROP" }]', "[0].title: Has no character", id="blank title"
        ),
        pytest.param(
            'title = "\\u0000\\u200B"\nif = "a"\nactions = [{ type = "DROP" }]',
            "[0].title: Has no character",
            id="title that nobody sees",
        ),
        pytest.param('title = ""\nif = "a"\nactions = [{ type = "DROP" }]', "has 0.", id="empty title"),
        pytest.param('title = "t"\nenabled = false\nactions = [{ type = "DROP" }]', "if: Is missing", id="no if"),
        pytest.param('title = "t"\nif = "a"\nenabled = false', "At least one action", id="no action"),
        pytest.param(
            'title = "t"\nif = "a"\nenabled = false\nactions = [{ type = "ERASE" }]',
            "'ERASE' is not an action. Actions are DROP, SAMPLE, DROP_PROPERTIES, ALLOW_PROPERTIES.",
            id="unknown action",
        ),
        pytest.param('title = "t"\nif = "a"\nenabled = false\nactions = ["DROP"]', "Must be a table", id="not a table"),
    ],
)
def test_bad_filter_is_refused(filter_lines: str, expected: str) -> None:
    messages = problems(f"{MINIMAL}[[destinations.filters]]\n{filter_lines}\n")
    assert any(expected in line for line in messages), messages
    assert all("destinations.perkville.filters" in line for line in messages)


def test_more_than_ten_filters_are_refused() -> None:
    filter_toml = '[[destinations.filters]]\ntitle = "t"\nif = "a"\nenabled = false\nactions = [{ type = "DROP" }]\n'
    assert len(read(MINIMAL + filter_toml * 10).destinations[0].filters) == 10
    assert "Has 11 filters. At most 10" in problems(MINIMAL + filter_toml * 11)[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"# nothing yet\n", "is empty", id="comments only"),
        pytest.param(b"[workspace\n", "is not valid TOML: ", id="syntax"),
        pytest.param(b'name = "\xff"', "is not UTF-8 text", id="encoding"),
        pytest.param(b"x = " + b"[" * 5000, "is not valid TOML", id="deep"),
        pytest.param(b"x = " + b"9" * 5000, "a number has too many digits", id="digits"),
        pytest.param(b"a = [{ b = [0x" + b"f" * 6000 + b"] }]", "the number of b is not between", id="hexadecimal"),
        pytest.param(b"x = " + b"9" * 400, "the number of x is not between -2^63 and 2^63 - 1", id="beyond a float"),
        pytest.param(b"x = -9223372036854775809", "the number of x is not between", id="beyond 64 bits"),
        pytest.param(b"#" * (4 * 1024 * 1024 + 1), "larger than", id="huge"),
        pytest.param(b"workspace = 1\n[[sources]]\nslug = 3\n", "workspace: Must be a table", id="shapes"),
        pytest.param(b"sources = 1\n", "sources: Must be a list of tables", id="not a list"),
        pytest.param(b"sources = [1]\n", "sources[0]: Must be a table, not a number", id="list of numbers"),
    ],
)
def test_unreadable_content_is_refused_with_its_reason(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "punchcard.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_file(path, {})
    assert str(path) in caught.value.message
    assert expected in caught.value.message


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "punchcard.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert read_file(path, {}) == read(MINIMAL)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_file(tmp_path / "none.toml", {})


IDENTITY = """\
[identity]
priority = ["user_id", "member_id"]
limits = { email = 3 }
limit = 20
periods = { email = "monthly" }
blocked = ["none", "/^0+$/"]
properties = { member_id = "traits.memberId" }
"""


def test_rules_of_identity_are_read_and_what_is_left_out_is_the_default() -> None:
    assert read(IDENTITY).identity == IdentityRules(
        priority=("user_id", "member_id"),
        limits={"user_id": 1, "email": 3},
        limit=20,
        periods={"email": "monthly"},
        blocked=("none", "/^0+$/"),
        properties={"member_id": "traits.memberId"},
    )
    assert read("[identity]").identity == IdentityRules()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            '"member_id"]', '"Member Id"]', '2: identity.priority: "Member Id" is not an identifier type', id="type"
        ),
        pytest.param('"member_id"]', '"user_id"]', '2: identity.priority: "user_id" is listed twice', id="twice"),
        pytest.param("email = 3", "email = 0", "3: identity.limits.email: Must be between 1 and 1000", id="limit"),
        pytest.param('"monthly"', '"daily"', '5: identity.periods.email: "daily" is not a period', id="period"),
        pytest.param("email = 3", "email = true", "3: identity.limits.email: Must be a number", id="limit's type"),
        pytest.param("limit = 20", "limit = -1", "4: identity.limit: Must be between 1 and 1000", id="other limit"),
        pytest.param('"/^0+$/"', '"/^(0$/"', "6: identity.blocked[1]: /^(0$/ is not a regular", id="pattern"),
        pytest.param('"none"', '""', "6: identity.blocked[0]: Must not be empty", id="empty value"),
        pytest.param("traits.memberId", "memberId", '"memberId" is not a field of an event', id="place"),
        pytest.param("{ member_id", "{ user_id", "user_id is always read from the event itself", id="own place"),
        pytest.param(
            "limit = 20", "limits_of = 20", '4: identity.limits_of: Unknown key. Did you mean "limits"', id="key"
        ),
    ],
)
def test_wrong_rules_of_identity_are_refused_with_their_place(old: str, new: str, expected: str) -> None:
    messages = problems(IDENTITY.replace(old, new, 1))
    assert len(messages) == 1
    assert expected in messages[0]
