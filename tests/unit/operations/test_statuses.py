"""Statuses have one list of names for the App, the API, the command line and the documentation."""

import re
from pathlib import Path

import pytest

from punchcard.errors import ConfigurationError
from punchcard.operations.sentences import as_sentence
from punchcard.operations.statuses import STATUSES, parse_ledger_statuses, status_label
from punchcard.store.routing.event_results import EventStatus

REASONS = Path(__file__).parents[3] / "docs/reference/reasons.md"


def test_every_status_has_a_label_and_is_documented() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", REASONS.read_text(), re.MULTILINE))
    assert set(STATUSES) == set(EventStatus)
    assert set(EventStatus) <= documented


def test_an_unknown_status_has_a_readable_label() -> None:
    assert status_label("from_a_newer_version") == "From a newer version"


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        pytest.param("", (), id="no filter"),
        pytest.param("parked", (EventStatus.PARKED,), id="single status"),
        pytest.param(" retrying, parked ,", (EventStatus.RETRYING, EventStatus.PARKED), id="several statuses"),
    ],
)
def test_a_filter_lists_statuses_separated_by_commas(text: str, statuses: tuple[EventStatus, ...]) -> None:
    assert parse_ledger_statuses(text) == statuses


@pytest.mark.parametrize("text", ["open", "parked,refused", "Parked"])
def test_a_status_that_transactions_cannot_have_is_an_error_with_the_known_names(text: str) -> None:
    with pytest.raises(ConfigurationError, match="Use pending, retrying, unknown, parked, rejected, delivered"):
        parse_ledger_statuses(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ""),
        ("no answer", "No answer."),
        ("Already complete.", "Already complete."),
        ("really?", "Really?"),
        ("and so on …", "And so on …"),
    ],
)
def test_a_sentence_has_a_capital_and_a_full_stop(text: str, sentence: str) -> None:
    assert as_sentence(text) == sentence
