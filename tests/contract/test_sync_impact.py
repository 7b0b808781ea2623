"""Whom a previewed definition concerns, and what saving or deleting it updates at destinations."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from punchcard.engage import reach as reaches
from punchcard.engage.reach import Group, Overlap, Reach
from punchcard.engage.requests import Preview, PreviewRequest, preview
from punchcard.operations.sync_impact import describe_removal, describe_save
from punchcard.store.engine import Store
from punchcard.testing.engage_samples import record_sync
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.fresh_store import with_tables
from punchcard.workspace.model import Computation

BUYERS = "event('Order Completed').count() >= 1"
BIG_BUYERS = "event('Order Completed').count() >= 2"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngageWorld]:
    """Ann bought twice, Ben once, Cid once without an email, and Dee never."""
    folder: Path = tmp_path_factory.mktemp("impact")
    store = Store(with_tables(f"sqlite:///{folder / 'store.db'}"))
    made = EngageWorld(folder, store, datetime(2026, 3, 1, tzinfo=UTC))
    made.configure(made.audience("buyers", BUYERS), made.audience("regulars", BIG_BUYERS), made.trait("orders", ORDERS))
    bought = {"ann": 2, "ben": 1, "cid": 1, "dee": 0}
    emails = {"ann": "ann@x.example", "ben": "ben@x.example", "dee": "dee@x.example"}
    made.receive(
        [
            {"type": "identify", "messageId": f"i-{user}", "userId": user, "traits": {"email": email}}
            for user, email in emails.items()
        ]
        + [
            {"type": "track", "event": "Order Completed", "messageId": f"{user}-{number}", "userId": user}
            for user, count in bought.items()
            for number in range(count)
        ]
    )
    made.run_until_idle()
    yield made
    made.crash()
    store.close()


ORDERS = "event('Order Completed').count()"


def previewed(world: EngageWorld, request: PreviewRequest) -> Preview:
    assert world.facts is not None
    body = msgspec.json.encode(request).decode()
    result = preview(world.store, world.facts, body, clock=world.clock, zone=world.zone)
    assert result.error == ""
    return result


@pytest.mark.parametrize(
    ("definition", "key", "expected"),
    [
        pytest.param(
            BUYERS,
            "",
            Reach(
                matches=Group(3, 2),
                changes=Group(3, 2),
                entering=3,
                overlaps=(Overlap("buyers", 3), Overlap("regulars", 1)),
            ),
            id="new",
        ),
        pytest.param(
            BUYERS,
            "regulars",
            Reach(
                matches=Group(3, 2),
                current=Group(1, 1),
                changes=Group(2, 1),
                entering=2,
                overlaps=(Overlap("buyers", 3),),
            ),
            id="wider",
        ),
        pytest.param(
            BIG_BUYERS,
            "buyers",
            Reach(
                matches=Group(1, 1),
                current=Group(3, 2),
                changes=Group(2, 1),
                leaving=2,
                overlaps=(Overlap("regulars", 1),),
            ),
            id="narrower",
        ),
    ],
)
def test_a_preview_compares_with_members_audiences_and_emails(
    world: EngageWorld, definition: str, key: str, expected: Reach
) -> None:
    request = PreviewRequest("audience", definition, key=key, measures_reach=True)
    assert previewed(world, request).reach == expected


def test_a_changed_trait_concerns_everyone_with_another_value(world: EngageWorld) -> None:
    definition = f"{ORDERS.removesuffix('.count()')}.within(30 days).count()"
    unchanged = previewed(world, PreviewRequest("computed_trait", ORDERS, key="orders", measures_reach=True)).reach
    assert (unchanged.changes, unchanged.entering, unchanged.leaving) == (Group(), 0, 0)
    past = previewed(world, PreviewRequest("computed_trait", definition, key="orders", measures_reach=True)).reach
    assert past.current.people == unchanged.current.people


def test_emails_of_very_many_are_estimated(world: EngageWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaches, "_SAMPLED_MAX", 2)
    matches = previewed(world, PreviewRequest("audience", BUYERS, measures_reach=True)).reach.matches
    assert (matches.people, matches.is_estimated) == (3, True)
    assert matches.with_email in (2, 3)


def test_a_preview_measures_the_reach_only_when_that_is_requested(world: EngageWorld) -> None:
    assert previewed(world, PreviewRequest("audience", BUYERS)).reach == Reach()


STORED = Computation(kind="audience", key="a", name="A", definition=BUYERS, destinations=("perkville",))
REACH = Reach(matches=Group(20, 16), current=Group(9, 8), changes=Group(4, 1), entering=3, leaving=1)


@pytest.mark.parametrize(
    ("before", "after", "sentences"),
    [
        pytest.param(None, STORED, ["This will update 16 customers at Perkville."], id="created"),
        pytest.param(STORED, STORED, ["This will update 1 customer at Perkville."], id="edited"),
        pytest.param(
            replace(STORED, destinations=()), STORED, ["This will update 16 customers at Perkville."], id="attached"
        ),
        pytest.param(
            STORED,
            replace(STORED, destinations=()),
            ["Perkville keeps the last values: nothing is updated there any more."],
            id="detached",
        ),
        pytest.param(
            replace(STORED, when_removed="false"),
            replace(STORED, enabled=False),
            ["This will update 8 customers at Perkville. They are members no longer."],
            id="disabled",
        ),
        pytest.param(None, replace(STORED, enabled=False), [], id="created-disabled"),
        pytest.param(
            None,
            replace(STORED, include_history=False),
            ["Customers are updated at Perkville as new events arrive: past ones do not count."],
            id="only-new-events",
        ),
    ],
)
def test_saving_says_how_many_customers_it_updates(
    before: Computation | None, after: Computation, sentences: list[str]
) -> None:
    assert describe_save(REACH, before=before, after=after, title=str.capitalize) == sentences


def test_an_estimate_and_nobody_are_stated() -> None:
    estimated = replace_reach(matches=Group(900_000, 412_000, is_estimated=True))
    assert describe_save(estimated, before=None, after=STORED, title=str.capitalize) == [
        "This will update about 412,000 customers at Perkville."
    ]
    nobody = replace_reach(changes=Group(3, 0))
    assert describe_save(nobody, before=STORED, after=STORED, title=str.capitalize) == [
        "No customer is updated at Perkville."
    ]


def replace_reach(**groups: Group) -> Reach:
    return msgspec.structs.replace(REACH, **groups)


def test_deleting_says_how_many_customers_it_updates(store_url: str) -> None:
    store = Store(with_tables(store_url))
    now = datetime(2026, 3, 1, tzinfo=UTC)
    with store.unit_of_work() as work:
        for number, value in enumerate(("true", "true", "false")):
            record_sync(work, "a", f"p{number}@x.example", profile=number, value=value, at=now, slug="perkville")
    clearing = replace(STORED, when_removed="false")
    with store.reading() as work:
        title = str.capitalize
        assert describe_removal(work, clearing, title=title) == ["This will update 2 customers at Perkville."]
        assert describe_removal(work, STORED, title=title) == ["Perkville keeps the last values."]
        assert describe_removal(work, replace(clearing, enabled=False), title=title) == []
    store.close()
