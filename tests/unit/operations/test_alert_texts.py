"""What alerts say: whole sentences for every kind, whatever is known."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from punchcard.operations.alert_channels import Notice, notice_subject, notice_text
from punchcard.operations.alert_evaluation import NoticeBody
from punchcard.operations.alert_model import Alert
from punchcard.operations.alert_texts import describe_alert
from punchcard.store.operations.alert_notices import NoticeType
from punchcard.workspace.alert_rules import AlertKind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ZONE = ZoneInfo("America/Los_Angeles")
FULL = {
    "subject": "Perkville",
    "destination": "Perkville",
    "reason": "perk_unknown",
    "detail": "it said no",
    "since": NOW,
    "until": NOW,
    "next_check_at": NOW,
    "amounts": {"1": Decimal(3)},
    "value": 12.5,
}


@pytest.mark.parametrize("count", [0, 1, 2500])
@pytest.mark.parametrize("kind", AlertKind)
def test_every_alert_says_whole_sentences(kind: AlertKind, count: int) -> None:
    for known in (FULL, {"subject": "Perkville"}):
        text = describe_alert(Alert(kind=kind, count=count, **known), zone=ZONE)
        for sentence in filter(None, (text.title, text.detail, text.remedy)):
            assert sentence[-1] in ".!?"
            assert sentence[0] == sentence[0].upper()
            assert "  " not in sentence
            assert ".." not in sentence
        assert text.title
        assert text.path == "" or text.path.startswith("/")


def test_times_are_in_the_time_zone_of_the_workspace() -> None:
    text = describe_alert(Alert(kind=AlertKind.LAKE, subject="lake", since=NOW), zone=ZONE)
    assert "Jan 1, 2026, 19:04 PST" in text.title


def test_a_notice_for_people_has_everything_that_they_need() -> None:
    body = NoticeBody(
        id="7",
        kind="parked",
        severity="critical",
        state="raised",
        title="3 awards wait for you at perkville.",
        detail="The perk does not exist.",
        remedy="Map another perk.",
        url="https://points.example.com/destinations/perkville/transactions?state=parked",
        since="2026-01-02T03:04:05.000Z",
        destination="perkville",
        count=3,
        customers=2,
        points="120",
    )
    raised = Notice(id="alert_1", type=NoticeType.RAISED, body=body, timestamp=NOW)
    assert notice_subject(raised) == "[Punchcard] Critical: 3 awards wait for you at perkville."
    assert notice_text(raised, ZONE).splitlines() == [
        "The perk does not exist.",
        "",
        "Since: Jan 1, 2026, 19:04 PST",
        "Affected: 3 awards, 2 customers, 120 points",
        "",
        "What to do: Map another perk.",
        "",
        "https://points.example.com/destinations/perkville/transactions?state=parked",
    ]
    resolved = Notice(id="alert_1", type=NoticeType.RESOLVED, body=body, timestamp=NOW)
    assert notice_subject(resolved).startswith("[Punchcard] Resolved: ")
    reminder = Notice(id="alert_1", type=NoticeType.REMINDER, body=body, timestamp=NOW)
    assert notice_subject(reminder).startswith("[Punchcard] Still open: ")
