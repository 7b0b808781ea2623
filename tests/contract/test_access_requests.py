"""Access requests: everything that is stored about a person, and nothing about others."""

import json
from pathlib import Path

import pytest
from tests.contract.privacy_world import ANN, BOB, order, person_reader, process

from punchcard.cli.regulating import export_person
from punchcard.errors import ConfigurationError
from punchcard.operations.access_request import PersonReader, to_html, to_json
from punchcard.runtime.settings import read_settings
from punchcard.store.privacy.regulations import SubjectType
from punchcard.testing.public_api import PublicApiServer


@pytest.fixture
def reader(api: PublicApiServer) -> PersonReader:
    return person_reader(api)


def test_an_access_request_has_everything_of_the_person_and_nothing_of_others(
    api: PublicApiServer, reader: PersonReader
) -> None:
    api.send({"userId": ANN[0], "traits": {"email": ANN[1], "city": "<Graz>"}}, call="identify")
    api.send(order(ANN, 1), order(BOB, 2))
    process(api)
    person = reader.read(SubjectType.EMAIL, f" {ANN[1]} ")
    assert [event["event"] for event in person["events"]] == [None, "Order Completed"]
    assert [row["effect_key"] for row in person["ledger"]] == ["SEG:perkville:ORDER:o-1:order-completed"]
    assert person["ledger"][0]["attempts"]
    assert {trait["name"] for profile in person["profiles"] for trait in profile["traits"]} >= {"city", "email"}
    page = b"".join(to_html(person)).decode()
    assert "&lt;Graz&gt;" in page
    assert "<Graz>" not in page
    text = b"".join(to_json(person)).decode()
    plain = {**person, "events": list(person["events"])}
    assert text == json.dumps(plain, ensure_ascii=False, indent=2)
    for content in (page, text):
        assert all(part in content for part in ANN)
        assert not any(part in content for part in BOB)


def test_an_access_request_has_what_is_not_in_the_lake_yet(api: PublicApiServer, reader: PersonReader) -> None:
    api.send(order(ANN, 1))
    process(api)
    api.send({"batch": [order(BOB, 2), order(ANN, 3)]}, call="batch")
    api.route()  # planned, and not in the lake
    api.send({**order(ANN, 4), "anonymousId": "device-of-ann-2"}, order(BOB, 5))  # not routed
    person = reader.read(SubjectType.EMAIL, ANN[1])
    assert [event["messageId"] for event in person["events"]] == ["m-1", "m-3", "m-4"]
    assert [row["message_id"] for row in person["ledger"]] == ["m-1", "m-3"]
    assert person["events"][2]["results"][0]["reason"] == "not_routed_yet"
    process(api)
    again = reader.read(SubjectType.USER_ID, ANN[0])
    assert [event["messageId"] for event in again["events"]] == ["m-1", "m-3", "m-4"]


def test_an_access_request_has_what_the_audit_log_names(api: PublicApiServer, reader: PersonReader) -> None:
    condition = f"properties.email = '{ANN[1]}'"
    body = {"title": "Staff", "if": condition, "sourceId": "website", "enabled": True, "actions": [{"type": "DROP"}]}
    response = api.request("POST", "/api/destination/perkville/filters", json.dumps(body).encode())
    assert response.status == 200, response.body
    (entry,) = reader.read(SubjectType.EMAIL, ANN[1])["auditLog"]
    assert ANN[1] in entry["changes"]
    assert reader.read(SubjectType.EMAIL, BOB[1])["auditLog"] == []


@pytest.mark.parametrize("is_in_lake", [True, False])
def test_an_access_request_has_items_that_are_no_valid_events_and_alias_calls(
    api: PublicApiServer, reader: PersonReader, *, is_in_lake: bool
) -> None:
    api.send(order(ANN, 1), order(BOB, 2))
    process(api)
    api.send({"messageId": "m-3", "properties": {"email": ANN[1]}, "userId": ANN[0]})  # has no name
    api.send({"messageId": "m-4", "properties": {"email": BOB[1]}, "userId": BOB[0]})
    api.send({"messageId": "m-5", "userId": "new-id-of-ann", "previousId": ANN[0]}, call="alias")
    if is_in_lake:
        process(api)
    person = reader.read(SubjectType.USER_ID, ANN[0])
    assert [event["messageId"] for event in person["events"]] == ["m-1", "m-3", "m-5"]


def test_an_access_request_is_written_whatever_characters_an_event_has(
    api: PublicApiServer, reader: PersonReader
) -> None:
    strange = rb'{"messageId": "m-%d", %s"userId": "%s", "properties": {"x": "a\ud800b", "y": %s}}'
    values = (rb'"\u0000"', b"1e999", b"NaN", b"9" * 5_000, b"[" * 90 + b"]" * 90, b"[" * 990 + b"]" * 990)
    names = (b'"event": "Visit", ', b"")  # without a name it is not a valid event, and stays as it was received
    sent = [(name, value) for name in names for value in values]
    api.send(*(strange % (number, name, ANN[0].encode(), value) for number, (name, value) in enumerate(sent)))
    process(api)
    person = reader.read(SubjectType.USER_ID, ANN[0])
    assert len(person["events"]) == len(sent)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(b"".join(to_json(person)), parse_constant=refuse)
    assert len(content["events"]) == len(sent)
    b"".join(to_html(person))


def test_half_of_a_surrogate_pair_is_replaced_as_in_exports_of_lists() -> None:
    """Ingest replaces them; events that an earlier version or a transformation has written may have some."""
    assert b"".join(to_json({"x": "a\ud800b"})) == b'{\n  "x": "a?b"\n}'


@pytest.mark.parametrize("subject", ["", "  "])
def test_an_access_request_without_an_id_is_refused(reader: PersonReader, subject: str) -> None:
    with pytest.raises(ConfigurationError, match="Enter an id"):
        reader.read(SubjectType.USER_ID, subject)


def test_the_command_says_that_nothing_is_stored(
    api: PublicApiServer, tmp_path: Path, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    api.send(order(ANN, 1))
    process(api)
    settings = read_settings({"PUNCHCARD_DATA": str(tmp_path), "PUNCHCARD_DATABASE_URL": store_url})
    for subject, is_known in ((ANN[1], True), ("nobody@example.com", False)):
        capsys.readouterr()
        assert export_person(settings, subject, by="email", path=tmp_path / "person") == 0
        assert (f"Nothing is stored about {subject}." in capsys.readouterr().out) is not is_known
