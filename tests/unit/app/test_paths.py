"""Paths of pages quote whatever ids and values they contain."""

import pytest

from punchcard.app.paths import page_path, source_path


@pytest.mark.parametrize(
    ("segments", "query", "path"),
    [
        pytest.param((), {}, "/", id="home"),
        pytest.param(("events", "a/b c?"), {}, "/events/a%2Fb%20c%3F", id="segment with reserved characters"),
        pytest.param(("replays", 7), {}, "/replays/7", id="number"),
        pytest.param(
            ("events",), {"name": "A & B", "type": "", "before": None}, "/events?name=A%20%26%20B", id="query"
        ),
        pytest.param(("tx",), {"state": "retrying,parked"}, "/tx?state=retrying,parked", id="several statuses"),
    ],
)
def test_a_path_is_quoted_and_omits_empty_values(
    segments: tuple[object, ...], query: dict[str, object], path: str
) -> None:
    assert page_path(*segments, **query) == path


def test_events_of_engage_lead_to_the_audiences() -> None:
    assert source_path("website") == "/sources/website"
    assert source_path("engage-perkville") == "/audiences"
