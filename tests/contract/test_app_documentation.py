"""The documentation that the App serves: every link leads somewhere, every page of the App has its own, no sign-in."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from punchcard import __version__
from punchcard.app.documentation import Documentation, open_documentation
from punchcard.app.documentation_links import PAGES, link_of_template
from punchcard.store.access.operators import list_operators, note_seen_version
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

CONFIG = '[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n'
TEMPLATES = Path(__file__).parents[2] / "src/punchcard/app/templates"


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, sqlite_url, CONFIG) as server:
        add_operators(server)
        yield server


class _Links(HTMLParser):
    """The links and pictures of a page, and the attributes that the security policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forbidden: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.forbidden += [name for name, _ in attrs if name == "style" or name.startswith("on")]
        self.forbidden += [tag] if tag in ("script", "iframe") else []


def leads_somewhere(link: str, page: str) -> bool:
    documentation = open_documentation()
    path, _, anchor = link.partition("#")
    if path.endswith(".png"):
        return documentation.read_picture(path) is not None
    document = documentation.find(path or page)
    return document is not None and (not anchor or anchor in {heading.anchor for heading in document.headings})


def test_every_link_of_every_page_leads_somewhere() -> None:
    documentation = open_documentation()
    links = [link for pages in documentation.navigation.values() for _, link in pages]
    assert len(links) > 60
    problems = [link for link in links if not leads_somewhere(link, "")]
    count = 0
    for link in [*links, "/docs"]:
        document = documentation.find(link)
        assert document is not None
        page = _Links(document.content)
        problems += [f"{link}: {name}" for name in page.forbidden]
        for target in page.links:
            if not target.startswith(("http://", "https://", "mailto:")):
                count += 1
                problems += [] if leads_somewhere(target, link) else [f"{link}: {target}"]
    assert problems == []
    assert count > 300


def test_every_page_of_the_app_links_to_a_page_that_there_is() -> None:
    pages = {path.name for path in TEMPLATES.glob("*.html") if 'extends "base.html"' in path.read_text()}
    assert set(PAGES) == pages
    assert [template for template in PAGES if not leads_somewhere(link_of_template(template), "")] == []


def test_raw_html_and_links_to_files_that_are_not_served_become_text(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_text(
        "# Title\n\n<!-- a comment -->\n\n<script>alert(1)</script>\n\n"
        "See [the code](../src/x.py), [this](#a--b) and <b>bold</b>.\n\n## A & B\n\n## A & B\n\n"
        "| n |\n|--:|\n| 1 |\n\n```sh\n<b>\n```\n"
    )
    document = Documentation(tmp_path, tmp_path).find("/docs")
    assert document is not None
    assert document.title == "Title"
    assert [heading.anchor for heading in document.headings] == ["a--b", "a--b-1"]
    for text in ("<script", "<!--", "x.py", "<b>", "style="):
        assert text not in document.content
    assert "See the code, " in document.content
    assert 'class="text-end"' in document.content
    assert "&lt;b&gt;" in document.content


def test_an_installation_without_documentation_says_so(tmp_path: Path) -> None:
    empty = Documentation(None, tmp_path)
    assert (empty.paths, empty.navigation, empty.find("/docs"), empty.search("award")) == ([], {}, None, [])


def test_the_documentation_is_read_without_signing_in(world: PublicApiServer) -> None:
    visitor = FormBrowser(world)
    for path, text in (
        ("/docs", "This page lists all documentation"),
        ("/docs/how-to/operate", "Operate Punchcard"),
        ("/docs/how-to/operate.md", "Operate Punchcard"),
        ("/docs/src/punchcard/destinations/perkville/README", "What an event earns"),
    ):
        page = visitor.get(path)
        assert page.status == 200, path
        assert text in page.text
        assert "punchcard_version" not in page.cookies
    picture = visitor.send("GET", "/docs/app/../app/home.png")
    assert picture.status in (200, 404)
    for missing in ("/docs/nowhere", "/docs/app/nowhere.png", "/docs/../pyproject", "/docs/%2e%2e/%2e%2e/etc/passwd"):
        assert visitor.get(missing).status == 404, missing
    assert 'href="/docs/how-to/reset-a-password"' in visitor.get("/lost-password").text


def test_a_folder_leads_to_the_page_that_stands_for_it(world: PublicApiServer) -> None:
    visitor = FormBrowser(world)
    folders = {path.rpartition("/")[0] for path in open_documentation().paths if path.startswith("docs/")} - {"docs"}
    assert len(folders) > 4
    pages = {"/" + folder: "/docs/app/README" if folder == "docs/app" else "/docs" for folder in folders}
    pages["/docs/src/punchcard/destinations/perkville"] = "/docs/src/punchcard/destinations/perkville/README"
    pages["/docs/changelog.d"] = "/docs/changelog.d/README"
    for folder, target in pages.items():
        for path in (folder, f"{folder}/"):
            page = visitor.get(path)
            assert (page.status, page.headers.get("location")) == (303, target), path
        assert visitor.get(target).status == 200
    assert visitor.get("/docs/").status == 200


def test_a_search_finds_pages_by_title_heading_and_text(world: PublicApiServer) -> None:
    visitor = FormBrowser(world)
    page = visitor.get("/docs?q=one+database")
    assert re.search(r'href="/docs/how-to/operate#one-database-one-event-log"', page.text)
    assert "0 pages have “zzzz”" in visitor.get("/docs?q=zzzz").text
    assert "<script>" not in visitor.get("/docs?q=<script>").text


@pytest.mark.parametrize("ending", ["dismiss", "read"])
def test_what_is_new_is_offered_once_after_an_upgrade(world: PublicApiServer, ending: str) -> None:
    viewer = FormBrowser(world)
    viewer.sign_in("read_only@acme.example")
    offer = "What is new</a>"
    assert offer not in viewer.get("/").text  # to a new person everything is
    with world.store.unit_of_work() as work:
        for operator in list_operators(work):
            note_seen_version(work, operator.id, "0.0.9")
    for _ in range(2):
        assert f"upgraded to {__version__}" in viewer.get("/").text
    if ending == "dismiss":
        page = viewer.post("/whats-new", back="/events")
        assert (page.status, page.headers["location"]) == (303, "/events")
    else:
        page = viewer.get("/whats-new")
        assert (page.status, page.headers["location"]) == (303, "/docs/CHANGELOG")
    other_browser = FormBrowser(world)
    other_browser.sign_in("read_only@acme.example")
    assert offer not in viewer.get("/").text
    assert offer not in other_browser.get("/").text
    other_browser.sign_in("owner@acme.example")
    assert offer in other_browser.get("/").text  # to each person by themselves
