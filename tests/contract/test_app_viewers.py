"""What viewers see: values as text, and nothing to fill in that they cannot save."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.test_app_search import CONFIG

from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

ALERTS = """
[[alert_channels]]
name = "Ops"
url = "https://hooks.example.com/"
"""
NOT_FOLLOWED = ("/docs", "/assets", "/exports", "/whats-new")
# Forms that change nothing of the configuration: a preview, a plan, and one's own password and sessions.
OWN_FORMS = {
    "/settings/password",
    "/settings/account",
    "/settings/passkeys",
    "/settings/two-factor",
    "/destinations/perkville/tester",
    "/destinations/perkville/replays",
}
_GET_FORM = re.compile(r'<form[^>]*method="get".*?</form>', re.DOTALL)
_CONTROL = re.compile(r"<(?:input|select|textarea)\b[^>]*>", re.DOTALL)
_SEARCHES = ('type="hidden"', 'type="search"')


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("viewers")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG + ALERTS) as server:
        add_operators(server)
        event = {"type": "track", "event": "Checked In", "userId": "ann", "messageId": "m", "properties": {}}
        server.send(event)
        server.route()
        yield server


def crawled(world: PublicApiServer, role: str) -> dict[str, str]:
    """All pages that an operator of a role reaches by links, by path without the query."""
    browser = FormBrowser(world)
    assert browser.sign_in(f"{role}@acme.example").status == 303
    paths, pages = ["/"], {}
    while paths:
        path = paths.pop()
        if path.partition("?")[0] in pages or path.startswith(NOT_FOLLOWED):
            continue
        response = browser.get(path)
        pages[path.partition("?")[0]] = response.text
        paths += [html.unescape(link) for link in re.findall(r'href="(/[^"#]*)"', response.text)]
    return pages


@pytest.fixture(scope="module")
def pages(world: PublicApiServer) -> dict[str, str]:
    return crawled(world, "read_only")


def test_no_page_has_a_field_that_a_viewer_cannot_save(pages: dict[str, str]) -> None:
    assert len(pages) > 30
    fields = {}
    for path, text in pages.items():
        main = _GET_FORM.sub("", text.partition('<main id="main"')[2])
        controls = [control for control in _CONTROL.findall(main) if not any(kind in control for kind in _SEARCHES)]
        if controls and path not in OWN_FORMS:
            fields[path] = controls
    assert fields == {}


def test_no_link_leads_a_viewer_to_a_page_of_another_role(pages: dict[str, str], tmp_path: Path) -> None:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", '[workspace]\nname = "New"') as unused:
        add_operators(unused)
        pages_of_unused = crawled(unused, "read_only")
    assert len(pages_of_unused) > 15
    for reached in (pages, pages_of_unused):
        assert [path for path, text in reached.items() if ">Not allowed</h1>" in text] == []


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/settings", ["Time zone", "UTC", "Currency", "USD"]),
        ("/sources/website", ["Web shop", "Enabled", '<dd class="text-break">on</dd>']),
        ("/destinations/perkville/settings", ["Business ID", "41", "Location ID", "7", "Web shop"]),
        ("/destinations/perkville/map", ["Checked In", "123457"]),
    ],
)
def test_values_are_shown_as_text(pages: dict[str, str], path: str, values: list[str]) -> None:
    assert [value for value in values if value not in pages[path]] == []


def test_a_filter_is_shown_as_text_with_its_preview(pages: dict[str, str]) -> None:
    (text,) = [text for path, text in pages.items() if "/filters/flt_" in path]
    assert "properties.paid = true" in text
    assert "Drop the event" in text
    assert 'hx-include="#filter"' in text
    assert '<input type="hidden" name="if" value="properties.paid = true">' in text


def test_no_page_shows_a_secret_to_a_viewer(pages: dict[str, str]) -> None:
    assert [path for path, text in pages.items() if "wk_website" in text] == []
    assert [path for path, text in pages.items() if "a-secret-that-nobody-sees" in text] == []


@pytest.fixture(scope="module")
def owner_pages(world: PublicApiServer) -> dict[str, str]:
    return crawled(world, "owner")


def test_every_icon_of_every_page_is_in_the_sprite(world: PublicApiServer, owner_pages: dict[str, str]) -> None:
    icons = {icon for text in owner_pages.values() for icon in re.findall(r'<use href="([^"#]+)#([^"]+)"', text)}
    (sprite,) = {path for path, _ in icons}
    text = FormBrowser(world).get(sprite).text
    assert len(icons) > 30
    assert [name for _, name in icons if f'<symbol id="{name}"' not in text] == []


def test_those_who_may_save_have_the_fields(owner_pages: dict[str, str]) -> None:
    pages = owner_pages
    for path in ("/settings", "/sources/website", "/destinations/perkville/settings", "/destinations/perkville/map"):
        assert _CONTROL.search(_GET_FORM.sub("", pages[path])), path
        assert "values-list" not in pages[path], path
