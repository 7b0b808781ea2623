"""Access requests: everything that is stored about a person, and nothing about others."""

import json

import pytest
from tests.contract.privacy_world import ANN, BOB, order, process

from punchcard.errors import ConfigurationError
from punchcard.lake.reader import LakeReader
from punchcard.operations.access_request import PersonReader, to_html, to_json
from punchcard.store.privacy.regulations import SubjectType
from punchcard.testing.public_api import PublicApiServer


@pytest.fixture
def reader(api: PublicApiServer) -> PersonReader:
    return PersonReader(
        store=api.store,
        lake=LakeReader(api.lake_location),
        lake_url=api.lake_location,
        vault=api.subjects,
        clock=api.clock,
    )


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


@pytest.mark.parametrize("subject", ["", "  "])
def test_an_access_request_without_an_id_is_refused(reader: PersonReader, subject: str) -> None:
    with pytest.raises(ConfigurationError, match="Enter an id"):
        reader.read(SubjectType.USER_ID, subject)
