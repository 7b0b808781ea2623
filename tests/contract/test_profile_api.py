"""The Profile API from outside: events of a profile, order and pages; ids, traits, errors, how many requests."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from punchcard.testing.public_api import ApiResponse, PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }

[[audiences]]
name = "Visitors"
definition = "event('Checked In').count() >= 1"
"""
PROFILES = "/v1/spaces/any/collections/users/profiles"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def ask(api: PublicApiServer, path: str, **parameters: object) -> ApiResponse:
    credentials = base64.b64encode(f"{api.token}:".encode()).decode()
    target = path if path.startswith("/") else f"{PROFILES}/{path}"
    query = f"?{urlencode(parameters)}" if parameters else ""
    return api.request("GET", target + query, headers={"Authorization": f"Basic {credentials}"})


def body_of(api: PublicApiServer, path: str, **parameters: object) -> Any:
    result = ask(api, path, **parameters)
    assert result.status == 200, result.body
    return result.json()


def names(api: PublicApiServer, path: str, **parameters: object) -> list[str]:
    """The message ids of a page of events."""
    return [item["message_id"] for item in body_of(api, f"{path}/events", **parameters)["data"]]


def error(api: PublicApiServer, path: str, **parameters: object) -> tuple[int, str, str]:
    result = ask(api, path, **parameters)
    content = result.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message"}
    return result.status, content["error"]["code"], content["error"]["message"]


def receive(api: PublicApiServer, *events: dict[str, Any], call: str = "track") -> None:
    """Ingest events and make them facts of profiles; each is a second later."""
    for event in events:
        api.clock.advance(1)
        api.send({"event": "Checked In", **event} if call == "track" else event, call=call)
    api.route()
    api.feed_lake()
    api.engage()


def visit(number: int, **more: Any) -> dict[str, Any]:
    return {"messageId": f"m{number}", "userId": "ann", **more}


# --- events of a profile


def test_events_of_all_ids_of_a_profile_are_reported_newest_first(api: PublicApiServer) -> None:
    receive(
        api,
        {"messageId": "before-sign-in", "anonymousId": "a-1"},
        {"messageId": "sign-in", "anonymousId": "a-1", "userId": "ann"},
        {"messageId": "by-mail", "userId": "ann", "properties": {"email": "Ann@example.com"}},
        {"messageId": "on-the-phone", "anonymousId": "a-2", "userId": "ann"},
        {"messageId": "of-mail-alone", "anonymousId": "a-3", "properties": {"email": "ann@example.com"}},
        {"messageId": "of-nobody-known", "anonymousId": "a-4"},
    )
    hers = ["of-mail-alone", "on-the-phone", "by-mail", "sign-in", "before-sign-in"]
    for profile in ("user_id:ann", "email:ann@example.com", "anonymous_id:a-2", "ann"):
        assert names(api, profile) == hers
    assert names(api, "anonymous_id:a-4") == ["of-nobody-known"]


@pytest.mark.parametrize("feed", [False, True])
def test_events_that_are_not_in_the_lake_yet_are_reported_once_they_are_routed(
    api: PublicApiServer, *, feed: bool
) -> None:
    receive(api, visit(1))
    api.send({"event": "Checked In", **visit(2)})
    assert names(api, "ann") == ["m1"]
    api.route()
    if feed:
        api.feed_lake()
    assert names(api, "ann") == ["m2", "m1"]
    assert names(api, "ann", sort="asc") == ["m1", "m2"]


def test_who_shares_a_device_does_not_see_the_others_events(api: PublicApiServer) -> None:
    receive(
        api,
        {"messageId": "hers", "anonymousId": "shared", "userId": "ann"},
        *({"messageId": f"his-{number}", "anonymousId": "shared", "userId": "bob"} for number in range(30)),
        {"messageId": "hers-again", "anonymousId": "shared", "userId": "null"},
    )
    assert names(api, "ann", limit=2) == ["hers-again", "hers"]
    assert len(names(api, "bob", limit=100)) == 30


def test_copies_and_what_failed_on_ingest_are_no_events_of_anybody(api: PublicApiServer) -> None:
    receive(api, visit(1), visit(1), visit(2, event=""))
    assert names(api, "ann") == ["m1"]


# --- which events, in pages


def test_events_are_chosen_by_name_and_time(api: PublicApiServer) -> None:
    receive(api, visit(1, event="A"), visit(2, event="B"), visit(3, event="C"))
    receive(api, {"messageId": "p", "userId": "ann", "name": "Docs"}, call="page")
    assert names(api, "ann", include="A, C") == ["m3", "m1"]
    assert names(api, "ann", exclude="A,Page Viewed") == ["m3", "m2"]
    assert names(api, "ann", include="A,B", exclude="B") == ["m1"]
    assert names(api, "ann", include="Page Viewed") == ["p"]
    (page,) = body_of(api, "ann/events", include="Page Viewed")["data"]
    assert (page["type"], page["event"], page["properties"]["page_name"]) == ("page", "Page Viewed", "Docs")
    times = [item["timestamp"] for item in body_of(api, "ann/events", sort="asc")["data"]]
    assert names(api, "ann", start=times[1], end=times[3]) == ["m3", "m2"]
    assert names(api, "ann", end="2026-01-02") == []
    assert len(names(api, "ann", start="2026-01-02")) == 4


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("feed", [False, True])
def test_pages_miss_nothing_and_repeat_nothing_while_events_arrive(
    api: PublicApiServer, sort: str, *, feed: bool
) -> None:
    receive(api, *(visit(number) for number in range(5)))
    read: list[str] = []
    following, arrived = "", 5
    while True:
        page = body_of(api, "ann/events", limit=2, sort=sort, **({"next": following} if following else {}))
        read += [item["message_id"] for item in page["data"]]
        assert page["cursor"]["limit"] == 2
        following = page["cursor"]["next"]
        assert page["cursor"]["has_more"] == bool(following)
        if not following:
            break
        if arrived < 8:
            api.send({"event": "Checked In", **visit(arrived)})
            arrived += 1
            api.route()
            if feed:
                api.feed_lake()
    expected = range(8) if sort == "asc" else range(4, -1, -1)
    assert read == [f"m{number}" for number in expected]


def test_an_event_is_reported_in_segments_shape(api: PublicApiServer) -> None:
    receive(api, visit(1, properties={"revenue": 5}, context={"page": {"path": "/x"}}))
    page = body_of(api, "user_id:ann/events")
    public_id = body_of(api, "ann/metadata", verbose="true")["metadata"]["profile_id"]
    assert public_id.startswith("use_")
    assert page["data"] == [
        {
            "external_ids": [{"collection": "users", "type": "user_id", "id": "ann", "encoding": "none"}],
            "context": {"page": {"path": "/x"}},
            "type": "track",
            "message_id": "m1",
            "source_id": "website",
            "timestamp": page["data"][0]["timestamp"],
            "properties": {"revenue": 5},
            "event": "Checked In",
            "related": {"users": public_id},
        }
    ]
    assert page["cursor"]["url"] == f"{PROFILES}/user_id:ann/events"
    assert names(api, public_id) == ["m1"]


# --- ids, traits, metadata


def test_external_ids_are_reported_in_pages(api: PublicApiServer) -> None:
    receive(api, *(visit(number, anonymousId=f"a-{number}") for number in range(4)))
    first = body_of(api, "ann/external_ids", limit=3, verbose="true")
    second = body_of(api, "ann/external_ids", limit=3, next=first["cursor"]["next"])
    ids = [(item["type"], item["id"], item["first_message_id"]) for page in (first, second) for item in page["data"]]
    assert ids[:2] == [("anonymous_id", "a-0", "m0"), ("user_id", "ann", "m0")]
    assert ids[2:] == [("anonymous_id", f"a-{number}", f"m{number}") for number in (1, 2, 3)]
    assert (first["cursor"]["has_more"], second["cursor"]["has_more"]) == (True, False)
    assert len(body_of(api, "ann/external_ids", include="user_id")["data"]) == 1


def test_an_id_may_hold_anything_that_a_path_cannot(api: PublicApiServer) -> None:
    for number, profile in enumerate(("a/b", "a%41", "ü+ ?#", "a:b")):
        receive(api, visit(number, userId=profile))
        assert names(api, f"user_id:{quote(profile, safe='')}") == [f"m{number}"]
    assert error(api, "user_id:%00/traits")[:2] == (404, "not_found")


def test_traits_by_class_and_metadata_with_what_was_merged(api: PublicApiServer) -> None:
    receive(api, {"messageId": "i", "anonymousId": "a-1", "traits": {"plan": "gold"}}, call="identify")
    receive(api, visit(1), visit(2, anonymousId="a-1"))
    assert body_of(api, "ann/traits")["traits"] == {"plan": "gold", "visitors": True}
    assert body_of(api, "ann/traits", **{"class": "audience"})["traits"] == {"visitors": True}
    assert body_of(api, "ann/traits", **{"class": "computed_trait"})["traits"] == {}
    assert set(body_of(api, "ann/traits", verbose="true")["traits"]["plan"]) == {"value", "source_id", "updated_at"}
    assert "merged" not in body_of(api, "ann/metadata")["metadata"]
    (merged,) = body_of(api, "ann/metadata", verbose="true")["metadata"]["merged"]
    assert (merged["message_id"], merged["profile_id"][:4]) == ("m2", "use_")


# --- errors


BAD = {
    "limit too large": ("events", {"limit": 101}, "limit"),
    "limit zero": ("external_ids", {"limit": 0}, "limit"),
    "limit of traits": ("traits", {"limit": 201}, "limit"),
    "limit no number": ("events", {"limit": "ten"}, "limit"),
    "limit of links": ("links", {"limit": 21}, "limit"),
    "sort": ("events", {"sort": "newest"}, "sort"),
    "start": ("events", {"start": "yesterday"}, "start"),
    "end": ("events", {"end": "2026-13-01"}, "end"),
    "end behind start": ("events", {"start": "2026-01-02", "end": "2026-01-01"}, "end"),
    "next": ("events", {"next": "5"}, "next"),
    "next of ids": ("external_ids", {"next": "5"}, "next"),
    "class": ("traits", {"class": "predictions"}, "class"),
    "verbose": ("metadata", {"verbose": "perhaps"}, "verbose"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_a_validation_error_that_names_it(api: PublicApiServer, name: str) -> None:
    receive(api, visit(1))
    route, parameters, about = BAD[name]
    status, code, message = error(api, f"ann/{route}", **parameters)
    assert (status, code) == (400, "validation_error")
    assert re.match(rf"The parameter `?{about}`? (must be|is not) ", message), message


def test_a_cursor_of_the_other_order_is_refused(api: PublicApiServer) -> None:
    receive(api, visit(1), visit(2))
    following = body_of(api, "ann/events", limit=1)["cursor"]["next"]
    assert error(api, "ann/events", limit=1, next=following, sort="asc")[:2] == (400, "validation_error")


def test_who_is_not_there_and_who_may_not_ask(api: PublicApiServer) -> None:
    receive(api, visit(1))
    assert error(api, "nobody/traits") == (404, "not_found", "Profile was not found.")
    assert error(api, "/v1/spaces/any/collections/accounts/profiles/group_id:g/traits")[:2] == (404, "not_found")
    assert error(api, "/v1/spaces/any/collections/us!ers/profiles/ann/traits")[:2] == (400, "validation_error")
    assert error(api, "ann/nothing")[:2] == (404, "not_found")
    refused = api.request("GET", f"{PROFILES}/ann/traits", headers={"Authorization": ""})
    assert (refused.status, refused.json()["error"]["code"]) == (401, "authentication_error")
    assert refused.headers["www-authenticate"] == "Basic"


def test_every_answer_has_an_id_of_its_own(api: PublicApiServer) -> None:
    receive(api, visit(1))
    results = [ask(api, path) for path in ("ann/traits", "ann/traits", "nobody/traits", "ann/nothing")]
    assert [result.status for result in results] == [200, 200, 404, 404]
    assert len({result.headers["request-id"] for result in results}) == 4


def test_a_hundred_requests_a_second_are_answered_and_no_more(api: PublicApiServer) -> None:
    receive(api, visit(1))
    assert {ask(api, "ann/metadata").status for _ in range(100)} == {200}
    refused = ask(api, "ann/metadata")
    assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limit_error")
    assert refused.headers["retry-after"] == "1"
    api.clock.advance(0.011)
    assert [ask(api, "ann/metadata").status for _ in range(2)] == [200, 429]
    api.clock.advance(1)
    assert {ask(api, "ann/metadata").status for _ in range(100)} == {200}
