"""Build the documentation site and fail on any broken link.

    python docs/site/build.py

Pages link to each other as files of the repository, so they also work where the repository is browsed. The site keeps
that layout: `README.md` is its home page, and the navigation is derived from the index, `docs/README.md`. Writes
`dist/site/`, which any web server can serve.
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import tomli_w

from punchcard.app.documentation import Navigation, read_navigation

ROOT = Path(__file__).parents[2]
CONFIGURATION = Path(__file__).with_name("zensical.toml")
WORK = ROOT / "build" / "site"
OUTPUT = ROOT / "dist" / "site"
INDEX = "docs/README.md"
# Pages, and the files that pages link to.
PAGES = ("*.md", "docs/**/*.md", "src/**/*.md", "examples/*.md", "changelog.d/README.md")
FILES = ("LICENSE", "docs/**/*.png", "examples/*", "deploy/**/*")

_LINK_ATTRIBUTES = {"a": "href", "link": "href", "img": "src", "script": "src"}


def main() -> int:
    """Build the site; return 1 if Zensical fails or a built page has a broken link."""
    shutil.rmtree(WORK, ignore_errors=True)
    pages = WORK / "pages"
    for pattern in (*PAGES, *FILES):
        for path in ROOT.glob(pattern):
            if path.is_file():
                copy = pages / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    navigation = read_navigation((ROOT / INDEX).read_text())
    (WORK / "zensical.toml").write_text(add_navigation(CONFIGURATION.read_text(), navigation))
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=WORK, capture_output=True, text=True, check=False)
    if done.returncode:
        # Zensical ends a failed build with a traceback, which says nothing about the pages.
        sys.stderr.write(done.stdout + done.stderr.partition("Traceback")[0])
        return 1
    broken = sorted(find_broken_links(WORK / "site"))
    for message in broken:
        sys.stderr.write(f"site: {message}\n")
    if broken:
        return 1
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    shutil.move(WORK / "site", OUTPUT)
    sys.stdout.write(f"site: {OUTPUT.relative_to(ROOT)}/index.html, {len(list(OUTPUT.rglob('*.html')))} pages\n")
    return 0


def add_navigation(configuration: str, navigation: Navigation) -> str:
    """Return the configuration with the key `nav`: the home page, the index, and each section."""
    tables = tomllib.loads(configuration)
    sections = [{section: pages} for section, pages in navigation.items()]
    tables["project"]["nav"] = [{"Home": "README.md"}, {"All pages": INDEX}, *sections]
    return tomli_w.dumps(tables)


def find_broken_links(site: Path) -> Iterator[str]:
    """Yield a message for every link of a built page to a file or an anchor that the site does not have."""
    pages = {path: _read_page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            name = path.parent.relative_to(site).as_posix()
            if not target.is_file() or not target.is_relative_to(site):
                yield f"{name}: {link}: the site has no such page or file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: {link}: the page has no such heading"


class _Page(HTMLParser):
    """The links and anchors of one built page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if anchor := values.get("id"):
            self.anchors.add(anchor)
        if link := values.get(_LINK_ATTRIBUTES.get(tag, "")):
            self.links.append(link)


def _read_page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


if __name__ == "__main__":
    sys.exit(main())
