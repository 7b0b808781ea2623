"""Invalid parameters and members: each response says what must be sent, and `field` is the name in the request."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"
"""
OVERVIEW = "/api/delivery-overview/successful-delivery"
PERIOD = f"{OVERVIEW}?sourceId=website&destinationConfigId=perkville&granularity=DAY&startTime=2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("parameters")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        yield server


PARAMETERS = {
    "/api/alerts?pagination[count]=0": ("pagination[count]", "The parameter pagination[count] must be at least 1."),
    "/api/alerts?pagination[count]=1001": (
        "pagination[count]",
        "The parameter pagination[count] must be at most 1000.",
    ),
    "/api/alerts?pagination[count]=x": (
        "pagination[count]",
        "The parameter pagination[count] must be a whole number, not text.",
    ),
    "/api/echo": ("message", "The parameter message is missing."),
    f"{OVERVIEW}?sourceId=website&startTime=2020-01-01T00:00:00Z&granularity=DAY": (
        "endTime",
        "The parameter endTime is missing.",
    ),
    "/api/events?status=nonsense": ("status", '"nonsense" is not a result of routing. Use failed_on_ingest, '),
    "/api/events?status=delivered": ("status", "transactions are listed by their state."),
    "/api/events?status=": ("status", '"" is not a result of routing.'),
    "/api/events?type=nonsense": ("type", "The type is one of track, identify, "),
    f"{PERIOD}&endTime=2021-01-01T00:00:00Z": ("startTime", "the period is at most 720 hours."),
}


@pytest.mark.parametrize("call", PARAMETERS)
def test_an_invalid_parameter_is_named(api: PublicApiServer, call: str) -> None:
    response = api.request("GET", call)
    assert response.status == 400
    field, message = PARAMETERS[call]
    assert response.error["field"] == field
    assert message in response.error["message"]


BODIES: dict[str, tuple[str, object, str | None, str]] = {
    "missing": ("/api/alert-channels", {}, "name", "The member name is missing."),
    "missing below": (
        "/api/destination/filters/preview",
        {"filter": {}, "payload": {}},
        "filter.if",
        "The member if is missing.",
    ),
    "unknown": ("/api/events/earned", {"messageIds": ["a"], "x": 1}, "x", "There is no member x here."),
    "of another type": (
        "/api/alert-channels",
        {"name": 7},
        "name",
        "The member name must be text, not a whole number.",
    ),
    "too few": (
        "/api/events/earned",
        {"messageIds": []},
        "messageIds",
        "The member messageIds must have at least 1 entry.",
    ),
    "unknown without a name": ("/api/events/earned", {"messageIds": ["a"], "": 1}, "", 'There is no member "" here.'),
    "not listed": (
        "/api/spaces/punchcard/audiences/previews",
        {"definition": {"query": "x"}, "kind": "journey"},
        "kind",
        "The member kind must be one of audience, computed_trait, not journey.",
    ),
    "not the only one": (
        "/api/spaces/punchcard/audiences",
        {"name": "A", "definition": {"query": "x", "type": "ACCOUNTS"}},
        "definition.type",
        "The member definition.type must be USERS, not ACCOUNTS.",
    ),
    "a list": ("/api/alert-channels", [], None, "The body must be an object, not a list."),
    "a text": ("/api/alert-channels", "x", None, "The body must be an object, not text."),
}


@pytest.mark.parametrize("case", BODIES)
def test_an_invalid_member_is_named(api: PublicApiServer, case: str) -> None:
    call, body, field, message = BODIES[case]
    response = api.request("POST", call, json.dumps(body).encode())
    assert response.status == 400
    assert (response.error["field"], response.error["message"]) == (field, message)


MALFORMED = {
    b'{"name": "\\ud800"}': "The body is not JSON: \\ud800 is half of a surrogate pair at line 1, character 11.",
    b'{"name": "\\ud83d\\u0041"}': "The body is not JSON: \\ud83d is half of a surrogate pair at line 1, character 11.",
    b'{"name":\n "caf\xc3\xa9': "The body is not JSON: it ends too early at line 2, character 7.",
    b'{"name": 1': "The body is not JSON: it ends too early at line 1, character 11.",
    b'{"name":\n\n nan}': "The body is not JSON: expecting value at line 3, character 2.",
    b'{"name": NaN}': "The body is not JSON: NaN is not JSON.",
    b'{"name": 1}}': "The body is not JSON: extra data at line 1, character 12.",
    b" ": "The body is not JSON: it is empty.",
    b'{"name": "\xff"}': "The body is not UTF-8. Send JSON in UTF-8.",
}


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_body_is_explained_with_its_place(api: PublicApiServer, body: bytes) -> None:
    for call in ("/api/alert-channels", "/api/regulations", "/api/tracking-plans", "/api/transformations"):
        response = api.request("POST", call, body)
        assert (response.status, response.error["message"]) == (400, MALFORMED[body]), call


def test_the_event_tester_repairs_what_ingest_does_and_names_the_rest(api: PublicApiServer) -> None:
    repaired = api.request("POST", "/api/events/test", b'{"event": "A\\ud800", "userId": "u", "type": "track"}')
    assert repaired.status == 200, repaired.body
    refused = api.request("POST", "/api/events/test", b'{"event": "A"')
    assert refused.error["message"] == (
        "The body is not a JSON object with one event: it ends too early at line 1, character 14."
    )


def test_a_parameter_that_is_not_listed_is_named_with_the_values(api: PublicApiServer) -> None:
    response = api.request("POST", "/api/spaces/punchcard/audiences/vip/uploads?type=phone", b"a")
    assert (response.error["field"], response.error["message"]) == (
        "type",
        "The parameter type must be one of email, user_id, not phone.",
    )


@pytest.mark.parametrize("number", [b"1e999999999", b"9" * 5_000], ids=["exponent", "digits"])
def test_a_number_that_is_too_large_is_called_that(api: PublicApiServer, number: bytes) -> None:
    for body in (b'{"name": %s}' % number, b'{"x": {"y": [%s]}}' % number, number):
        response = api.request("POST", "/api/alert-channels", body)
        assert (response.status, "too large." in response.error["message"]) == (400, True), response.body


def test_a_problem_of_the_workspace_names_the_member(api: PublicApiServer) -> None:
    calls: dict[str, tuple[str, object]] = {
        "timezone": ("/api/workspace/settings", {"timezone": "Mars/Base"}),
        "webhookAllowedNetworks[1]": ("/api/workspace/settings", {"webhookAllowedNetworks": ["10.0.0.0/8", "x"]}),
        "label.key": ("/api/labels", {"label": {"key": "a/b", "value": "c"}}),
        "label.value": ("/api/labels", {"label": {"key": "a", "value": ""}}),
    }
    for field, (path, body) in calls.items():
        response = api.request("POST" if "labels" in path else "PATCH", path, json.dumps(body).encode())
        assert (response.status, response.error["field"]) == (422, field), response.body


OWN_CALLS = (
    "/api/destinations/points/transactions/retry",
    "/api/destinations/points/transactions/dismiss",
    "/api/destinations/points/transactions/1/resolve",
    "/api/destinations/points/pause",
    "/api/destinations/points/replays",
    "/api/destinations/points/simulations",
    "/api/destinations/points/reconciliations",
    "/api/destinations/points/reconciliations/1/resolve",
    "/api/destinations/points/conflicts/1/resolve",
    "/api/spaces/punchcard/audiences/vip/resync",
    "/api/configuration-versions/1/restore",
    "/api/alert-channels",
    "/api/regulations",
    "/api/tokens",
)


@pytest.mark.parametrize("call", OWN_CALLS)
def test_a_misspelt_member_of_an_own_call_selects_nothing(api: PublicApiServer, call: str) -> None:
    """Ignored, a misspelt selection would mean all: every rejected award would be retried."""
    response = api.request("POST", call, b'{"messageIDs": ["m1"]}')
    assert response.status == 400, response.body
    assert response.error["message"].startswith(("There is no member messageIDs here.", "The member "))
    assert response.error["field"] is not None


FIELDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "sourceIds": ("PATCH", "/api/destinations/webhooks", {"sourceIds": ["nope"]}),
    "settings.batchSize": ("PATCH", "/api/destinations/webhooks", {"settings": {"batchSize": 0}}),
    "title": ("POST", "/api/destination/webhooks/filters", {"title": ""}),
    "if": ("POST", "/api/destination/webhooks/filters", {"if": "event ="}),
    "actions[0].percent": ("POST", "/api/destination/webhooks/filters", {"actions": [{"type": "SAMPLE"}]}),
    "sourceId": ("POST", "/api/transformations", {"sourceId": "nope"}),
    "destinationMetadataId": ("POST", "/api/transformations", {"destinationMetadataId": "nope"}),
    "whenRemoved": ("POST", "/api/spaces/punchcard/audiences", {"whenRemoved": "x"}),
    "quietHours": ("POST", "/api/alert-channels", {"quietHours": "x"}),
}
VALID: dict[str, dict[str, object]] = {
    "filters": {"sourceId": "website", "title": "t", "if": "all", "actions": [{"type": "DROP"}], "enabled": True},
    "transformations": {"name": "T", "sourceId": "website", "enabled": True, "if": "all", "newEventName": "A"},
    "audiences": {"name": "A", "definition": {"query": "event('A').count() >= 1"}},
    "alert-channels": {"name": "ops", "url": "https://example.com/"},
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_problem_has_the_name_of_the_member_in_the_request(tmp_path: Path, field: str) -> None:
    method, path, invalid = FIELDS[field]
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as api:
        webhooks = {"sourceId": "website", "metadataId": "webhooks", "settings": {"url": "https://example.com/"}}
        assert api.request("POST", "/api/destinations", json.dumps(webhooks).encode()).status == 200
        body = {**VALID.get(path.rpartition("/")[2], {}), **invalid}
        response = api.request(method, path, json.dumps(body).encode())
    assert (response.status, response.error["field"]) == (422, field), response.body


def test_no_message_has_words_of_the_framework(api: PublicApiServer) -> None:
    document: dict[str, Any] = api.request("GET", "/api/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"post", "put", "patch"}:
            for body in (b"{}", b"[]", b'"x"', b'{"name": 7, "settings": 7, "enabled": 7}', b"1e999999", b'{"": 1}'):
                response = api.request(method.upper(), path, body)
                for error in response.json().get("errors", ()):
                    assert "`" not in error["message"], (path, error)
                    assert "enum value" not in error["message"], (path, error)
                    assert error["field"] != "data", (path, error)


LONG = "x" * 60_000
OF_LONG_VALUES = {
    "unknown-object": ("GET", f"/api/sources/{LONG}", None),
    "filter": ("POST", "/api/filters/validate", {"if": f"event = {LONG} {LONG}"}),
    "source-slug": ("POST", "/api/sources", {"slug": LONG, "metadataId": "IqDTy1TpoU"}),
    "profile": ("GET", f"/v1/spaces/punchcard/collections/users/profiles/{LONG}:a/traits", None),
}


@pytest.mark.parametrize("call", OF_LONG_VALUES)
def test_a_message_does_not_repeat_a_long_value(api: PublicApiServer, call: str) -> None:
    method, path, body = OF_LONG_VALUES[call]
    response = api.request(method, path, None if body is None else json.dumps(body).encode())
    assert response.status >= 400, response.body[:500]
    assert len(response.body) < 3_000, (response.status, response.body[:100])
