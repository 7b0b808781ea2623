"""Which destinations an end user has agreed to."""

import pytest

from punchcard.routing.consent import missing_consent

BOTH = ("marketing", "analytics")


@pytest.mark.parametrize(
    ("context", "categories", "missing"),
    [
        pytest.param("", BOTH, None, id="no context"),
        pytest.param("{}", BOTH, None, id="no consent object: nothing is enforced"),
        pytest.param('{"consent":null}', BOTH, None, id="null is none"),
        pytest.param('{"consent":{"categoryPreferences":{}}}', BOTH, "marketing", id="empty: nothing is given"),
        pytest.param('{"consent":{"categoryPreferences":{}}}', (), None, id="in no category: gets every event"),
        pytest.param(
            '{"consent":{"categoryPreferences":{"marketing":true,"analytics":true}}}', BOTH, None, id="all given"
        ),
        pytest.param(
            '{"consent":{"categoryPreferences":{"marketing":true,"analytics":false}}}', BOTH, "analytics", id="one not"
        ),
        pytest.param('{"consent":{"categoryPreferences":{"marketing":true}}}', BOTH, "analytics", id="one not stated"),
        pytest.param('{"consent":{"categoryPreferences":{"Marketing":true}}}', ("marketing",), "marketing", id="case"),
        pytest.param(
            '{"consent":{"categoryPreferences":{"marketing":true,"other":false}}}', ("marketing",), None, id="another's"
        ),
        pytest.param(r'{"\u0063onsent":{"categoryPreferences":{}}}', ("marketing",), "marketing", id="escaped"),
        pytest.param('{"consent":{"categoryPreferences":{"marketing":"yes"}}}', BOTH, "marketing", id="unreadable"),
        pytest.param('{"traits":{"consent":{"categoryPreferences":{}}}}', BOTH, None, id="deeper"),
    ],
)
def test_consent(context: str, categories: tuple[str, ...], missing: str | None) -> None:
    assert missing_consent(context.encode(), categories) == missing
