"""What the App's pages of audiences and people show, from a store that holds people."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from punchcard.store.delivery.effects import EffectState
from punchcard.store.engage import engage_tables
from punchcard.testing.engage_samples import add_person, call_about, record_sync, set_traits
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }

[[audiences]]
name = "Regulars"
definition = "event('Checked In').within(30 days).count() >= 4"
destinations = ["perkville"]

[[audiences]]
name = "Lapsed"
definition = "NOT ( event('Checked In').within(14 days).count() >= 1 )"

[[computed_traits]]
name = "Lifetime Spend"
definition = "event('Order Completed').sum(property('revenue'))"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def viewer(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "read_only")


def words(page: str) -> str:
    """The text of a page, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_an_audience_says_how_its_destination_took_it_and_each_number_opens_what_it_counts(
    world: PublicApiServer, viewer: FormBrowser
) -> None:
    with world.store.unit_of_work() as work:
        for number in range(4):
            person = add_person(work, ("email", f"{number}@example.com"), at=world.clock.now())
            record_sync(work, "regulars", f"{number}@example.com", profile=person, at=world.clock.now())
        for number in range(3):
            call_about(work, "regulars", f"{number}@example.com", state=EffectState.RETRYING, reason="no_connection")
        call_about(work, "regulars", "r@example.com", state=EffectState.RETRYING, reason="timeout")
        call_about(work, "regulars", "p@example.com", state=EffectState.PARKED, reason="outcome_unknown")
        call_about(work, "regulars", "q@example.com", state=EffectState.PARKED, reason="outcome_unknown")
        call_about(work, "lapsed", "p@example.com", state=EffectState.PARKED, reason="outcome_unknown")
    page = viewer.get("/audiences/regulars").text
    assert "4 people synced 3 not yet known at the destination 1 retrying 2 parked" in words(page)
    links = re.findall(r'href="(/destinations/perkville/transactions\?property=[^"]*)"><strong>(\d+)', page)
    assert [count for _, count in links] == ["3", "1", "2"]
    for link, count in links:
        listed = viewer.get(link.replace("&amp;", "&")).text
        assert re.search(rf"card-title\">{count} transactions?<", listed), link
        assert "Only changes of the user property “regulars”" in listed


def test_rejected_and_parked_values_show_on_page_api_and_home_until_a_later_value_replaces_them(
    world: PublicApiServer, viewer: FormBrowser
) -> None:
    call = "/api/spaces/punchcard/audiences/regulars"
    with world.store.unit_of_work() as work:
        call_about(work, "regulars", "p@example.com", state=EffectState.PARKED, reason="outcome_unknown")
        call_about(work, "regulars", "r@example.com", state=EffectState.REJECTED, reason="rejected", value=["a", 1])
        call_about(work, "lapsed", "q@example.com", state=EffectState.DELIVERED)
    page = words(viewer.get("/audiences/regulars").text)
    assert "2 values are not at Perkville: rejected or parked." in page
    assert "Perkville sent by" in page
    assert re.search(r"r@example\.com \[[^\]]*a[^\]]*, 1\] Rejected", page), page
    assert "not at Perkville" not in words(viewer.get("/audiences/lapsed").text)
    assert "2 values of Regulars are not at Perkville" in words(viewer.get("/").text)
    (sync,) = world.request("GET", call).json()["data"]["audience"]["syncs"]
    assert sync["outcome"]["failedCount"] == 2
    assert [(item["email"], item["state"], item["reason"]) for item in sync["outcome"]["failed"]] == [
        ("r@example.com", "rejected", "rejected"),
        ("p@example.com", "parked", "outcome_unknown"),
    ]
    assert "2 values are not at Perkville" in sync["warnings"][0]
    with world.store.unit_of_work() as work:
        for email in ("p@example.com", "r@example.com"):
            call_about(work, "regulars", email, state=EffectState.DELIVERED, number=2)
    (sync,) = world.request("GET", call).json()["data"]["audience"]["syncs"]
    assert sync["outcome"]["failed"] == []
    assert sync["warnings"] == []
    assert "not at Perkville" not in words(viewer.get("/").text)


# --- people ---


@pytest.fixture
def people(world: PublicApiServer) -> PublicApiServer:
    """Ann with everything, a visitor with an anonymous id alone, and 60 with a trait."""
    now = world.clock.now()
    with world.store.unit_of_work() as work:
        ann = add_person(
            work,
            ("email", "ann@example.com"),
            ("user_id", "Ann-7"),
            ("phone", "+15550100"),
            at=now,
            traits={"plan": "gold", "visits": 12, "city": "Zürich"},
        )
        set_traits(work, ann, {"regulars": True, "lapsed": False}, at=now, computation="audience")
        set_traits(work, ann, {"lifetime_spend": 49.9}, at=now, computation="computed_trait")
        add_person(work, ("anonymous_id", "a/visitor"), at=now)
        for number in range(60):
            add_person(work, ("email", f"many{number:02}@example.com"), at=now, traits={"tier": "basic"})
    return world


@pytest.mark.parametrize(
    "typed",
    ["Ann-7", "+15550100", "ann@ex", "ANN@EX", f"use_{1:027}"],
    ids=["user id", "phone", "begin", "case", "profile"],
)
@pytest.mark.usefixtures("people")
def test_somebody_is_found_by_any_id_and_by_how_an_email_begins(viewer: FormBrowser, typed: str) -> None:
    page = viewer.get(f"/customers?q={quote(typed)}").text
    assert 'href="/customers/ann%40example.com"' in page
    assert "many01@example.com" not in page


@pytest.mark.usefixtures("people")
def test_without_a_search_the_newest_people_stand_there_page_by_page(viewer: FormBrowser) -> None:
    first = viewer.get("/customers").text
    assert "Find a customer" in first
    assert first.index("many59@example.com") < first.index("many10@example.com")
    assert "many09@example.com" not in first
    (following,) = re.findall(r'href="(/customers\?[^"]*before[^"]*)"', first)
    second = viewer.get(following).text
    assert "many09@example.com" in second
    assert "ann@example.com" in second
    assert f'href="/customers/use_{2:027}">a/visitor</a>' in second


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("trait=plan&value=gold", True),
        ("trait=plan&value=silver", False),
        ("trait=plan", True),
        ("trait=visits&value=12", True),
        ("trait=city&value=Z%C3%BCrich", True),
        ("trait=lifetime_spend&value=49.9", True),
        ("trait=regulars", True),
        ("trait=lapsed", False),
        ("trait=nobody_has_it", False),
    ],
)
@pytest.mark.usefixtures("people")
def test_people_are_found_by_a_trait_its_value_or_an_audience(
    viewer: FormBrowser, query: str, *, is_found: bool
) -> None:
    page = viewer.get(f"/customers?{query}").text
    assert ("ann@example.com</a>" in page) is is_found
    assert ("No profile has " in page) is not is_found


@pytest.mark.usefixtures("people")
def test_people_with_a_trait_come_page_by_page(viewer: FormBrowser) -> None:
    first = viewer.get("/customers?trait=tier&value=basic").text
    (following,) = re.findall(r'href="(/customers\?[^"]*before[^"]*)"', first)
    second = viewer.get(following.replace("&amp;", "&")).text
    listed = [re.findall(r"(many\d\d)@example.com</a>", page) for page in (first, second)]
    assert [len(item) for item in listed] == [50, 10]
    assert len({*listed[0], *listed[1]}) == 60


@pytest.mark.parametrize(
    "person_id",
    ["ann@example.com", "ANN@example.com", "Ann-7", "+15550100", f"use_{1:027}"],
    ids=["email", "case", "user id", "phone", "profile"],
)
@pytest.mark.usefixtures("people")
def test_any_id_opens_somebodys_page_with_audiences_apart_from_traits(viewer: FormBrowser, person_id: str) -> None:
    audiences, profile = (
        words(viewer.get(f"/customers/{quote(person_id)}?tab={tab}").text) for tab in ("audiences", "profile")
    )
    assert "phone +15550100" in profile
    assert re.search(r"Audiences Audience Since Regulars \d", audiences)
    current = audiences.partition("Trait changes")[0]
    assert "Lapsed" not in current.partition("Not in")[0]
    assert "Not in Lapsed . The page of each audience explains why." in current
    assert re.search(r"Lifetime Spend computed 49.9 .* plan gold", profile)


def test_an_events_page_leads_to_its_person(people: PublicApiServer, viewer: FormBrowser) -> None:
    people.send({"type": "track", "event": "Checked In", "messageId": "visit", "userId": "Ann-7"})
    people.route()
    page = viewer.get("/events/visit").text
    assert f'<a href="/customers/use_{1:027}">ann@example.com</a>' in page


@pytest.mark.parametrize("person_id", ["a%2Fvisitor", f"use_{2:027}"], ids=["anonymous id", "profile"])
@pytest.mark.usefixtures("people")
def test_who_has_an_anonymous_id_alone_has_a_page_too(viewer: FormBrowser, person_id: str) -> None:
    text = words(viewer.get(f"/customers/{person_id}?tab=profile").text)
    assert "anonymous_id a/visitor" in text
    assert "No email or user id yet" in text


@pytest.mark.usefixtures("people")
def test_nobody_is_made_up(viewer: FormBrowser) -> None:
    assert "Unknown customer: nobody" in words(viewer.get("/customers/nobody").text)
    assert "No customer matches" in words(viewer.get("/customers?q=nobody").text)
    assert viewer.get("/customers?before=99999999999999999999&trait=%00").status == 200


# --- the builder ---


@pytest.fixture
def editor(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "editor")


BOUGHT = {"kind": "audience", "line": "0", "l0_kind": "did", "l0_event": "Order Completed", "l0_times": "2"}


def definition(page: str) -> str:
    (item,) = re.findall(r'name="rendered" value="([^"]*)"', page)
    return html.unescape(item)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ("ask", 'name="l0_path"'),
        ("did", 'name="l0_then_event"'),
        ("did_not", 'name="l0_then_event"'),
        ("source", 'name="l0_source"'),
    ],
)
def test_a_part_appears_when_it_is_chosen_with_the_cursor_in_it_and_goes_again(
    editor: FormBrowser, more: str, shown: str
) -> None:
    plain = editor.post("/audiences/new/builder", **BOUGHT).text
    assert shown not in plain
    assert definition(plain) == "event('Order Completed').count() >= 2"
    page = editor.post("/audiences/new/builder", **BOUGHT, l0_more=more).text
    assert shown in page
    assert page.count("autofocus") == 1
    stored = {"l0_path": "", "l0_operator": "=", "l0_value": ""} if more == "ask" else {}
    if more in ("did", "did_not"):
        stored = {"l0_then": more, "l0_then_event": "x"}
    elif more == "source":
        stored = {"l0_source": "website"}
    part = {"ask": "ask0", "source": "source"}.get(more, "then")
    assert shown not in editor.post("/audiences/new/builder", **BOUGHT, **stored, drop=f"0.{part}").text


def test_a_property_of_what_followed_is_requested_and_goes_again(editor: FormBrowser) -> None:
    assert "then_ask" not in editor.post("/audiences/new/builder", **BOUGHT).text, "nothing follows yet"
    funnel = {**BOUGHT, "l0_then": "did", "l0_then_event": "Order Refunded"}
    page = editor.post("/audiences/new/builder", **funnel, l0_more="then_ask").text
    assert "Property of the second step" in page
    assert page.count("autofocus") == 1
    requested = {"l0_then_path": "sku", "l0_then_operator": "same", "l0_then_value": ""}
    child = "event('Order Refunded').where( property('sku') = property(parent: 'sku') ).count() >= 1"
    page = editor.post("/audiences/new/builder", **funnel, **requested).text
    assert definition(page) == f"event('Order Completed').where( {child} ).count() >= 2"
    page = editor.post("/audiences/new/builder", **funnel, **requested, drop="0.then_ask0").text
    assert definition(page) == "event('Order Completed').where( event('Order Refunded').count() >= 1 ).count() >= 2"
    page = editor.post("/audiences/new/builder", **funnel, **requested, drop="0.then").text
    assert definition(page) == "event('Order Completed').count() >= 2"


def test_lines_are_added_and_removed_and_a_wrong_one_is_named(editor: FormBrowser) -> None:
    assert editor.post("/audiences/new/builder", **BOUGHT, add="on").text.count('name="line"') == 2
    refused = editor.post("/audiences/new/builder", **{**BOUGHT, "l0_times": "often"}).text
    assert "count must be a whole number, not “often”" in refused


def test_what_lines_say_is_saved_and_shown_as_lines_again(editor: FormBrowser) -> None:
    form = {
        **BOUGHT,
        "name": "Big",
        "l0_measure": "sum",
        "l0_of": "revenue",
        "l0_span": "between",
        "l0_begin": "7",
        "l0_window": "90",
        "l0_then": "did_not",
        "l0_then_event": "Order Refunded",
        "l0_source": "website",
        "definition": "",
        "rendered": "",
        "send": "identify",
        "history": "all",
    }
    assert editor.post("/audiences/new", **form).status == 303
    taken = editor.post("/audiences/new", **form)
    assert taken.status == 422
    assert re.search(r'is-invalid"[^>]* name="key"|name="key"[^>]*is-invalid', taken.text)
    page = editor.get("/audiences/big/edit").text
    assert definition(page) == (
        "event('Order Completed').where( NOT ( event('Order Refunded').count() >= 1 ) ).sources('website')"
        ".between(7 days, 90 days).sum(property('revenue')) >= 2"
    )
    assert 'name="l0_then_event" id="l0_then_event" value="Order Refunded"' in page
    assert "says more than lines can show" not in page


def test_a_trait_inside_another_is_requested_in_a_line_and_one_that_nobody_has_is_warned_about(
    world: PublicApiServer, editor: FormBrowser
) -> None:
    with world.store.unit_of_work() as work:
        traits = {"address": {"city": "Austin"}, "dotted.name": 1}
        add_person(work, ("user_id", "ann"), at=world.clock.now(), traits=traits)
    page = editor.get("/audiences/new").text
    assert '<option value="dotted\\.name">' in page, "as a definition writes it"
    line = {"kind": "audience", "line": "0", "l0_kind": "trait", "l0_operator-0": "=", "definition": "", "rendered": ""}
    more = {"send": "identify", "history": "all"}
    for name, path, warnings in (("In Austin", "address.city", 0), ("Misspelt", "adress.city", 1)):
        requested = {"l0_path": path, "l0_operator": "=", "l0_value": "Austin"}
        saved = editor.post("/audiences/new", name=name, **line, **requested, **more)
        assert saved.status == 303, words(saved.text)
        message = words(editor.get(saved.headers["location"]).text)
        assert (
            message.count('Nobody has a trait "adress" yet. Did you mean "address"?'.replace('"', "&#34;")) == warnings
        )
    assert definition(editor.get("/audiences/in_austin/edit").text) == "trait('address.city') = 'Austin'"


def test_a_value_that_is_not_sent_is_seen_on_the_page(world: PublicApiServer, viewer: FormBrowser) -> None:
    now = world.clock.now()
    row = {"destination": "perkville", "key": "regulars", "queued_at": now, "due_at": now}
    with world.store.unit_of_work() as work:
        engage_tables.enqueue(work, [{**row, "profile_id": 1, "waits_for": "too_large"}])
        engage_tables.enqueue(work, [{**row, "profile_id": 2, "waits_for": "invalid"}])
    page = words(viewer.get("/audiences/regulars").text)
    assert "1 person has a value that is too large: a call has at most 32 KB." in page
    assert "1 person has a value that cannot be written as JSON" in page


def test_an_audience_is_not_offered_as_part_of_itself(editor: FormBrowser) -> None:
    page = editor.post("/audiences/new/builder", kind="audience", line="0", l0_kind="in", own_key="regulars").text
    assert '<option value="lapsed">Lapsed</option>' in page
    assert '<option value="regulars">' not in page


@pytest.mark.parametrize(
    "form", [{"line": "x"}, {"line": "0", "l0_kind": "nothing", "l0_counted": "?"}, {"drop": "9.ask9"}]
)
def test_nonsense_in_the_builder_is_no_defect(editor: FormBrowser, form: dict[str, str]) -> None:
    assert editor.post("/audiences/new/builder", kind="audience", **form).status == 200
