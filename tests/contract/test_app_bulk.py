"""Actions on all rows that match a filter: the confirmation, the slices, and what nobody selected."""

import html
import re
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest
from sqlalchemy import func, select, update
from tests.contract.test_app_search import CONFIG

from punchcard.app.bulk import SLICE_ROWS
from punchcard.store.delivery import outbox
from punchcard.store.delivery.conflicts import add_conflict
from punchcard.store.delivery.schema import effects
from punchcard.testing.effects import new_effect, stored_effect
from punchcard.testing.operators import FormBrowser, PageResponse, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

PATH = "/destinations/perkville/transactions"
PARKED = 2 * SLICE_ROWS + 3


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("bulk")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def editor(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "editor")


def park(world: PublicApiServer, count: int) -> None:
    """Store parked awards, and a rejected one of another reason."""
    now = world.clock.now()
    with world.store.unit_of_work() as work:
        outbox.add(work, [new_effect(f"SEG:{number}", received_at=now) for number in range(count + 1)], now=now)
        parked = {"state": "parked", "is_open": False, "reason": "unavailable", "finished_at": now}
        work.execute(update(effects).values(**parked))
        work.execute(
            update(effects).where(effects.c.effect_key == "SEG:0").values(state="rejected", reason="dismissed")
        )


def states(world: PublicApiServer) -> dict[str, int]:
    with world.store.reading() as work:
        query = select(effects.c.state, func.count()).group_by(effects.c.state)
        return {str(state): int(count) for state, count in work.execute(query)}


def fields(page: PageResponse) -> dict[str, list[str]]:
    """The hidden fields of the form on a page of a bulk action."""
    form = page.text.partition('<main id="main"')[2]
    return {
        name: [html.unescape(value)]
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)
        if name not in ("_csrf", "back")
    }


def test_all_matching_awards_are_retried_slice_by_slice_once_it_is_confirmed(
    world: PublicApiServer, editor: FormBrowser
) -> None:
    park(world, PARKED)
    listed = editor.get(f"{PATH}?state=parked&reason=unavailable")
    assert f"All {PARKED:,} that match" in listed.text
    page = editor.post(PATH, do="retry", which="all", state="parked", reason="unavailable")
    assert page.status == 200
    assert f"Retry {PARKED:,} awards?" in page.text
    assert '<li class="text-break">Status: Parked</li>' in page.text
    assert "Reason: unavailable" in page.text
    assert states(world) == {"parked": PARKED, "rejected": 1}  # nothing before the confirmation
    seen = []
    while page.status == 200:
        page = editor.send("POST", PATH, {**fields(page), "_csrf": csrf(editor)})
        seen.append(states(world))
    assert seen == [
        {"parked": PARKED - SLICE_ROWS, "pending": SLICE_ROWS, "rejected": 1},
        {"parked": 3, "pending": 2 * SLICE_ROWS, "rejected": 1},
        {"pending": PARKED, "rejected": 1},
    ]
    location = page.headers["location"]
    assert parse_qs(location.partition("?")[2]) == {"state": ["parked"], "reason": ["unavailable"]}
    assert f"{PARKED:,} awards back in the queue." in html.unescape(editor.get(location).text)


def csrf(browser: FormBrowser) -> str:
    match = re.search(r'name="_csrf" value="(\w+)"', browser.get("/settings/password").text)
    assert match is not None
    return match.group(1)


def test_an_award_that_is_parked_again_meanwhile_is_not_taken_twice(
    world: PublicApiServer, editor: FormBrowser
) -> None:
    park(world, SLICE_ROWS + 1)
    page = editor.post(PATH, do="retry", which="all", state="parked")
    page = editor.send("POST", PATH, {**fields(page), "_csrf": csrf(editor)})
    assert f"{SLICE_ROWS:,} of {SLICE_ROWS + 1:,} awards done" in page.text
    assert "data-submit-now" in page.text
    with world.store.unit_of_work() as work:
        work.execute(update(effects).where(effects.c.state == "pending").values(state="parked", is_open=False))
    page = editor.send("POST", PATH, {**fields(page), "_csrf": csrf(editor)})
    assert page.status == 303
    assert states(world) == {"parked": SLICE_ROWS, "pending": 1, "rejected": 1}


def test_nothing_that_matches_is_stated(world: PublicApiServer, editor: FormBrowser) -> None:
    park(world, 2)
    page = editor.post(PATH, do="dismiss", which="all", reason="no_such_reason")
    assert "Nothing was changed: no award matches." in html.unescape(editor.get(page.headers["location"]).text)
    page = editor.post(PATH, do="dismiss", which="all", state="delivered")
    assert page.status == 303
    assert states(world) == {"parked": 2, "rejected": 1}


@pytest.mark.parametrize("cursor", ["-1", "x", "9" * 30])
def test_nonsense_in_the_hidden_fields_is_no_defect(world: PublicApiServer, editor: FormBrowser, cursor: str) -> None:
    park(world, 2)
    page = editor.post(PATH, do="dismiss", which="all", state="parked", confirmed="on", cursor=cursor, seen=cursor)
    assert page.status == 303


def test_all_unresolved_conflicts_keep_their_first_content(world: PublicApiServer, editor: FormBrowser) -> None:
    path, now = "/destinations/perkville/conflicts", world.clock.now()
    with world.store.unit_of_work() as work:
        outbox.add(work, [new_effect("SEG:1")], now=now)
        effect = stored_effect(work, "SEG:1")
        for number in range(3):
            second = new_effect(
                "SEG:1", quantity=str(number + 2), message_id=f"again-{number}", log_position=number + 2
            )
            add_conflict(work, effect.id, second)
    assert "All 3 that match" in editor.get(path).text
    page = editor.post(path, which="all")
    assert "Keep the first content of 3 conflicts?" in page.text
    assert "3 conflicts to resolve" in editor.get(path).text
    page = editor.send("POST", path, {**fields(page), "_csrf": csrf(editor)})
    assert "3 conflicts resolved: the first content counts." in editor.get(page.headers["location"]).text


@pytest.mark.parametrize(("chosen", "account"), [({}, "business 41"), ({"reason": "other_account"}, None)])
def test_only_who_names_the_reason_sends_awards_to_another_account(
    world: PublicApiServer, editor: FormBrowser, chosen: dict[str, str], account: str | None
) -> None:
    park(world, 2)
    with world.store.unit_of_work() as work:
        moved = update(effects).where(effects.c.state == "parked")
        work.execute(moved.values(account="business 41", reason="other_account"))
    page = editor.post(PATH, do="retry", which="all", state="parked", **chosen)
    editor.send("POST", PATH, {**fields(page), "_csrf": csrf(editor)})
    with world.store.reading() as work:
        accounts = set(work.scalars(select(effects.c.account).where(effects.c.state == "pending")))
    assert accounts == {account}
