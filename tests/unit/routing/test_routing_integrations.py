import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.routing.integrations import allows


@pytest.mark.parametrize(
    ("integrations", "sent"),
    [
        # Segment's decision table
        pytest.param("", True, id="absent"),
        pytest.param("{}", True, id="empty"),
        pytest.param('{"All":false}', False, id="all off"),
        pytest.param('{"All":false,"Perkville":true}', True, id="all off, ours on"),
        pytest.param('{"All":false,"Perkville":{"x":1}}', True, id="all off, ours with options"),
        pytest.param('{"Perkville":false}', False, id="ours off"),
        pytest.param('{"perkville":false}', True, id="wrong case is ignored"),
        pytest.param('{"All":true,"Perkville":false}', False, id="all on, ours off"),
        # what follows from its rules
        pytest.param('{"All":true}', True, id="all on"),
        pytest.param('{"Perkville":true}', True, id="ours on"),
        pytest.param('{"Perkville":{}}', True, id="ours with no options"),
        pytest.param('{"Perkville":{"All":false}}', True, id="All inside the options means nothing"),
        pytest.param('{"all":false}', True, id="all in the wrong case"),
        pytest.param('{"All":false,"perkville":true}', False, id="all off, ours in the wrong case"),
        pytest.param('{"All":false,"Salesforce":true}', False, id="all off, another on"),
        pytest.param('{"Salesforce":false}', True, id="another off"),
        pytest.param('{"Perkville ":false}', True, id="a space makes another name"),
        # odd JSON
        pytest.param('{"Perkville":null}', True, id="null says nothing"),
        pytest.param('{"All":false,"Perkville":null}', False, id="null leaves it to All"),
        pytest.param('{"All":null}', True, id="all null"),
        pytest.param('{"Perkville":"false"}', True, id="text is no false"),
        pytest.param('{"Perkville":0}', True, id="zero is no false"),
        pytest.param('{"Perkville":[]}', True, id="a list is no false"),
        pytest.param('{"All":"false"}', True, id="all as text"),
        pytest.param('{ "All" :\n false , "Perkville"\t:\r\n true }', True, id="spaces"),
        pytest.param('{"Perkville" : false }', False, id="spaces around false"),
        pytest.param('{"Perkville":true,"Perkville":false}', False, id="the last of two keys"),
        pytest.param('{"\\u0050erkville":false}', False, id="an escaped key"),
        pytest.param("null", True, id="null"),
        pytest.param("false", True, id="false"),
        pytest.param('"All"', True, id="text"),
        pytest.param('["Perkville"]', True, id="a list"),
        pytest.param("1e999", True, id="a huge number"),
        pytest.param('{"All":fals', True, id="cut off"),
        pytest.param('{"x":' + "[" * 5_000 + "]" * 5_000 + "}", True, id="deep nesting"),
        pytest.param('{"Perkville":false,"x":' + "[" * 5_000 + "]" * 5_000 + "}", True, id="too deep to read"),
    ],
)
def test_the_senders_switches_decide(integrations: str, sent: bool) -> None:
    assert allows(integrations.encode(), "Perkville") is sent
    assert allows(memoryview(integrations.encode()), "Perkville") is sent


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(integrations: bytes) -> None:
    assert allows(integrations, "Perkville") in (True, False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["All", "Perkville", "Other"]) | st.text(max_size=5), json_values))
def test_the_own_key_beats_all_and_all_the_default(switches: dict[str, object]) -> None:
    own, everyone = switches.get("Perkville"), switches.get("All")
    expected = own is not False if own is not None else everyone is not False
    assert allows(json.dumps(switches).encode(), "Perkville") is expected
