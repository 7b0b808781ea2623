"""The pages of Privacy: what owners preview and save, and what others see."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.privacy_world import ANN, BOB, CONFIG, order, process

from punchcard.operations.retention import days_of
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

DATA_SETS = ("lake", "delivery_details", "profile_history", "profiles", "reports", "audit_log", "rejected_requests")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    """A running App with events of two persons."""
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        server.send(order(ANN, 1), order(BOB, 2))
        process(server)
        server.clock.advance(40 * 86_400)
        yield server


def browser_of(api: PublicApiServer, role: str) -> FormBrowser:
    """Return a browser that is signed in."""
    browser = FormBrowser(api)
    browser.sign_in(f"{role}@acme.example")
    return browser


def test_regulations_are_listed_with_their_action_and_persons(api: PublicApiServer) -> None:
    owner = browser_of(api, "owner")
    created = owner.post("/privacy", type="DELETE_ONLY", by="USER_ID", subjects="u-1\nu-2")
    assert created.status == 303, created.text
    page = " ".join(owner.get("/privacy").text.split())
    assert "<td>Delete all data; new events are accepted</td>" in page
    assert '<td class="text-break">u-1 and 1 more</td>' in page


def test_a_regulation_is_limited_to_a_source(api: PublicApiServer) -> None:
    owner = browser_of(api, "owner")
    form = owner.get("/privacy").text
    assert '<option value="website"' in form
    created = owner.post("/privacy", type="DELETE_ARCHIVE_ONLY", by="USER_ID", source="website", subjects="u-9")
    assert created.status == 303, created.text
    assert "website" in owner.get(created.headers["location"]).text
    (listed, *_) = api.request("GET", "/api/regulations/sources/website?count=1").json()["data"]["regulations"]
    assert listed["subjects"] == ["u-9"], listed


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"type": "DELETE_ARCHIVE_ONLY", "source": ""}, "w-type"),
        ({"type": "DELETE_ONLY", "source": "none"}, "w-source"),
    ],
)
def test_a_regulation_that_cannot_be_is_explained_at_its_field(
    api: PublicApiServer, form: dict[str, str], field: str
) -> None:
    refused = browser_of(api, "owner").post("/privacy", by="USER_ID", subjects="u-9", **form)
    assert refused.status == 422
    assert f'class="invalid-feedback" id="{field}"' in refused.text


def test_an_owner_previews_periods_and_saves_them(api: PublicApiServer) -> None:
    owner = browser_of(api, "owner")
    form = dict.fromkeys(DATA_SETS, "") | {"lake": "30", "audit_log": "0"}
    preview = owner.post("/privacy/retention", action="preview", **form)
    assert preview.status == 200
    assert "Would be deleted now" in preview.text
    assert 'value="30"' in preview.text
    assert '<td class="text-end">2</td>' in " ".join(preview.text.split()).replace("> 2 <", ">2<").replace(">2 ", ">2")
    with api.store.reading() as work:
        assert days_of(work, "lake", {}) == 0  # a preview changes nothing
    saved = owner.post("/privacy/retention", action="save", **form)
    assert saved.headers["location"] == "/privacy/retention"
    with api.store.reading() as work:
        assert days_of(work, "lake", {}) == 30
        assert days_of(work, "audit_log", {"audit_log_retention_days": 400}) == 0
        assert days_of(work, "reports", {"history_retention_days": 400}) == 400
    page = owner.get("/privacy/retention").text
    assert 'value="30"' in page
    assert "Would be deleted now" not in page


def test_a_wrong_period_is_refused_at_its_field_and_nothing_is_saved(api: PublicApiServer) -> None:
    form = dict.fromkeys(DATA_SETS, "") | {"lake": "7", "delivery_details": "29"}
    page = browser_of(api, "owner").post("/privacy/retention", action="save", **form)
    assert page.status == 422
    assert "at least 30 days" in page.text
    assert 'value="29"' in page.text
    with api.store.reading() as work:
        assert days_of(work, "lake", {}) != 7


@pytest.mark.parametrize("role", ["read_only", "editor"])
def test_only_owners_change_periods(api: PublicApiServer, role: str) -> None:
    browser = browser_of(api, role)
    page = browser.get("/privacy/retention")
    assert page.status == 200
    assert "Events in the data lake" in page.text
    assert 'name="lake"' not in page.text
    assert browser.post("/privacy/retention", action="save", lake="1").status == 403


def test_an_owner_does_not_overwrite_a_period_that_another_one_has_changed_meanwhile(api: PublicApiServer) -> None:
    mine, theirs = browser_of(api, "owner"), browser_of(api, "owner")
    shown = dict(re.findall(r'name="(shown\.\w+)" value="(\d*)"', mine.get("/privacy/retention").text))
    assert set(shown) == {f"shown.{name}" for name in DATA_SETS}
    form = dict.fromkeys(DATA_SETS, "")
    saved = theirs.post("/privacy/retention", action="save", **shown, **form | {"audit_log": "400"})
    assert saved.status == 303
    previewed = mine.post("/privacy/retention", action="preview", **shown, **form | {"lake": "40"})
    shown = dict(re.findall(r'name="(shown\.\w+)" value="(\d*)"', previewed.text))
    refused = mine.post("/privacy/retention", action="save", **shown, **form | {"lake": "40"})
    assert refused.status == 422
    assert "Audit log was changed by operator owner@acme.example after you opened this page" in refused.text
    assert " → 400. Nothing was saved." in refused.text
    with api.store.reading() as work:
        assert (days_of(work, "audit_log", {}), days_of(work, "lake", {})) != (400, 40)
    shown = dict(re.findall(r'name="(shown\.\w+)" value="(\d*)"', refused.text))
    again = mine.post("/privacy/retention", action="save", **shown, **form | {"lake": "40"})
    assert again.status == 303
    with api.store.reading() as work:
        assert (days_of(work, "audit_log", {}), days_of(work, "lake", {})) == (0, 40)
