"""The account of a destination changes: the new one is synced, and what the former one has is known if it is back."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from punchcard.engage.recovery import SentCall, record_call
from punchcard.operations.moved_accounts import warn_of_moved_accounts
from punchcard.store.delivery import outbox
from punchcard.store.engage import engage_tables
from punchcard.store.engage.schema import synced
from punchcard.store.engage.sync_outcomes import outcome_of
from punchcard.store.engine import Store
from punchcard.testing.effects import new_effect
from punchcard.testing.partner.configuration import SETTINGS, SLUG
from punchcard.testing.sync_world import KEY, SyncWorld
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.model import Destination, Workspace

_FIRST, _SECOND = "41", "42"


class _Accounts(SyncWorld):
    """A world with a destination that moves between two businesses.

    Attributes:
        send: Calls of the audience.
    """

    send: tuple[str, ...] = ("identify", "track")

    def move_to(self, business: str) -> None:
        self.configure_destination(businessId=business)
        self.audience(send=self.send)

    def new_values(self) -> list[tuple[str, object]]:
        """Return what was synced since the last look."""
        values = self.synced_values()
        new, self._seen = values[self._seen :], len(values)
        return sorted(new)

    _seen = 0

    def shown(self) -> int:
        """Return how many customers the pages show as synced."""
        with self.store.reading() as work:
            return outcome_of(work, KEY, destination=SLUG, source=OWN_SOURCES + SLUG).synced


@pytest.fixture
def sync(tmp_path: Path, store_url: str) -> Iterator[_Accounts]:
    store = Store(store_url)
    made = _Accounts(tmp_path, store)
    made.audience(send=made.send)
    made.order("ann")
    made.order("bob")
    made.run_until_idle()
    assert made.new_values() == [("ann@example.com", True), ("bob@example.com", True)]
    made.world.advance(minutes=5)
    yield made
    made.world.crash()
    made.log.close()
    store.close()


def test_the_new_account_gets_every_value(sync: _Accounts) -> None:
    sync.move_to(_SECOND)
    sync.run_until_idle()
    assert sync.new_values() == [("ann@example.com", True), ("bob@example.com", True)]
    assert sync.shown() == 2


def test_until_then_it_counts_as_not_synced(sync: _Accounts) -> None:
    with sync.store.unit_of_work() as work:
        engage_tables.pause(work, SLUG, at=sync.world.clock.now(), actor="test")
    sync.move_to(_SECOND)
    sync.run_until_idle()
    assert sync.shown() == 0
    assert sync.queue() == {(SLUG, KEY, ""): 2}


def test_an_entry_earns_once_whichever_account_it_was_sent_to(sync: _Accounts) -> None:
    sync.move_to(_SECOND)
    sync.run_until_idle()
    assert sorted(sync.tracked()) == [("Audience Entered", "ann@example.com"), ("Audience Entered", "bob@example.com")]


def test_the_former_account_gets_nothing_it_has_if_it_comes_back(sync: _Accounts) -> None:
    sync.move_to(_SECOND)
    sync.run_until_idle()
    sync.world.advance(minutes=5)
    sync.new_values()
    sync.move_to(_FIRST)
    sync.run_until_idle()
    assert (sync.new_values(), sync.shown(), sync.queue()) == ([], 2, {})


def test_the_former_account_gets_what_has_changed_meanwhile(sync: _Accounts) -> None:
    sync.move_to(_SECOND)
    sync.run_until_idle()
    sync.new_values()
    sync.world.advance(days=20)
    sync.order("ann")
    sync.order("cid")
    sync.run_until_idle()
    sync.world.advance(days=15)
    sync.run_until_idle()
    assert sync.new_values() == [("bob@example.com", False), ("cid@example.com", True)]
    sync.move_to(_FIRST)
    sync.run_until_idle()
    assert sync.new_values() == [("bob@example.com", False), ("cid@example.com", True)]


def test_who_left_before_the_new_account_knew_them_is_not_mentioned_there_and_enters_again_later(
    sync: _Accounts,
) -> None:
    sync.world.advance(days=31)
    sync.move_to(_SECOND)
    sync.run_until_idle()
    assert (sync.new_values(), sync.queue()) == ([], {})
    sync.order("ann")
    sync.run_until_idle()
    assert sync.new_values() == [("ann@example.com", True)]
    assert sync.tracked().count(("Audience Entered", "ann@example.com")) == 2
    sync.world.advance(minutes=5)
    sync.move_to(_FIRST)
    sync.run_until_idle()
    assert sync.new_values() == [("bob@example.com", False)]


@pytest.mark.parametrize("is_waiting", [True, False])
def test_what_perhaps_never_reaches_the_former_account_is_synced_again_if_it_comes_back(
    sync: _Accounts, *, is_waiting: bool
) -> None:
    if is_waiting:
        key = "SEG:perkville:TRAITS:ann"
        waiting = new_effect(key, source=OWN_SOURCES + SLUG, attributes={KEY: True}, quantity=None)
        with sync.store.unit_of_work() as work:
            outbox.add(work, [waiting], now=sync.world.clock.now() - timedelta(minutes=5))
    else:
        sync.order("cid")
        sync.run_until_idle()
    sync.new_values()
    sync.move_to(_SECOND)
    sync.run_until_idle()
    sync.new_values()
    sync.move_to(_FIRST)
    sync.run_until_idle()
    assert ("ann@example.com" if is_waiting else "cid@example.com", True) in sync.new_values()


def test_a_restart_is_no_change_of_account(sync: _Accounts) -> None:
    sync.restart_sync()
    sync.run_until_idle()
    assert sync.new_values() == []


def test_a_restored_store_learns_what_each_account_was_sent(sync: _Accounts) -> None:
    sync.move_to(_SECOND)
    sync.run_until_idle()
    with sync.store.reading() as work:
        before = {(row.email, row.account): (row.value, row.sequence) for row in work.execute(select(synced))}
    accounts = {account for _, account in before}
    assert len(accounts) == 2
    with sync.store.unit_of_work() as work:
        work.execute(synced.delete())
        for (email, account), (value, sequence) in before.items():
            call = SentCall(
                destination=SLUG,
                key=KEY,
                email=email,
                value=value,
                sequence=sequence,
                account=account,
                sent_at=sync.world.clock.now(),
            )
            record_call(work, call)
        after = {(row.email, row.account): (row.value, row.sequence) for row in work.execute(select(synced))}
    assert after == before


def test_the_warning_about_queued_awards_counts_no_values_of_engage(sync: _Accounts) -> None:
    def workspace(business: str) -> Workspace:
        settings = {**SETTINGS, "businessId": business}
        return Workspace(destinations=(Destination(slug=SLUG, type=SLUG, sources=("web",), settings=settings),))

    queued = [
        new_effect("SEG:perkville:ORDER:o1", order_id="o1"),
        new_effect("SEG:perkville:TRAITS:ann", source=OWN_SOURCES + SLUG, attributes={KEY: True}, quantity=None),
    ]
    other = new_effect("SEG:other:ORDER:o1", destination="other")  # so that nothing follows corrected settings
    with sync.store.unit_of_work() as work:
        outbox.add(work, [*queued, other], now=sync.world.clock.now())
    (warning,) = warn_of_moved_accounts(
        workspace(_FIRST), workspace(_SECOND), store=sync.store, names={SLUG: "Perkville"}
    )
    assert warning.startswith("Perkville: 1 queued award is for business 41 at ")
