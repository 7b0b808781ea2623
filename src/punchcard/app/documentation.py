"""The documentation, rendered from the Markdown files that come with the package."""

import functools
import html
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

INDEX: Final = "docs/README.md"
PREFIX: Final = "/docs"
_PACKAGE: Final = "src/punchcard/"
_PAGES: Final = ("*.md", "docs/**/*.md", "examples/*.md", "changelog.d/README.md")
_PACKAGE_PAGES: Final = "destinations/*/README.md"
_PICTURES: Final = "docs/**/*.png"
_HEADING_OR_LINK: Final = re.compile(
    r"^## (?P<section>[^\n:]+)|^(?:-|\d+\.) \[(?P<title>[^\]]+)\]\((?P<page>[^)#]+\.md)\)", re.M
)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.S)
_HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.M)
_MARKUP: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[`*]|^```\w*$", re.M)
_SNIPPET_CHARACTERS: Final = 160
_RESULTS_MAX: Final = 30
_WORDS_MAX: Final = 8  # anybody may search, and each word is looked for in all pages
_TITLE_WEIGHT, _HEADING_WEIGHT, _TEXT_MAX = 50, 10, 5

Navigation = dict[str, list[dict[str, str]]]
"""The sections of the index with their pages, each as title and path below the root of the repository."""


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading of a page.

    Attributes:
        anchor: Its id, unique on the page.
    """

    level: int
    text: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """A rendered page.

    Attributes:
        path: Path of its file below the root of the repository.
        content: HTML without the title.
        headings: All but the title.
    """

    path: str
    title: str
    content: Markup
    headings: Sequence[Heading]

    @property
    def link(self) -> str:
        """Path in the App."""
        return document_link(self.path)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A page that has the words of a search, and where it has them."""

    title: str
    link: str
    snippet: str


class Documentation:
    """The pages and pictures of the documentation.

    Args:
        root: Folder with the layout of the repository; None if the package comes without documentation.
        package: Folder of the package, which has pages of its own.
    """

    def __init__(self, root: Path | None, package: Path) -> None:
        self._pages: dict[str, Path] = {}
        self._pictures: dict[str, Path] = {}
        if root is not None:
            for pattern in _PAGES:
                self._pages |= {path.relative_to(root).as_posix(): path for path in root.glob(pattern)}
            self._pictures = {path.relative_to(root).as_posix(): path for path in root.glob(_PICTURES)}
            self._pages |= {
                _PACKAGE + path.relative_to(package).as_posix(): path for path in package.glob(_PACKAGE_PAGES)
            }
        self._by_link = {document_link(path): path for path in self._pages}
        self._folders = {
            folder: f"{folder}/README" if f"{folder}/README" in self._by_link else PREFIX
            for link in self._by_link
            for folder in _folders_above(link)
        }
        self._rendered: dict[str, Document] = {}

    @property
    def paths(self) -> Sequence[str]:
        """The paths of all pages below the root of the repository."""
        return sorted(self._pages)

    @functools.cached_property
    def navigation(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """The sections of the index, each with titles and links of its pages."""
        if INDEX not in self._pages:
            return {}
        sections = read_navigation(self._pages[INDEX].read_text(encoding="utf-8"))
        return {
            section: [(title, document_link(path)) for page in pages for title, path in page.items()]
            for section, pages in sections.items()
        }

    def find(self, link: str) -> Document | None:
        """Return the page with this path in the App, None if there is none."""
        path = self._by_link.get(link)
        return None if path is None else self._document(path)

    def find_folder(self, link: str) -> str | None:
        """Return the path in the App of the page that stands for a folder: its README, or else the index."""
        return self._folders.get(link)

    def read_picture(self, link: str) -> bytes | None:
        """Return the picture with this path in the App, None if there is none."""
        path = self._pictures.get("docs" + link.removeprefix(PREFIX))
        return None if path is None else path.read_bytes()

    def search(self, text: str) -> list[SearchResult]:
        """Return pages that have all words of the text, those with the words in title or headings first."""
        words = text.lower().split()[:_WORDS_MAX]
        scored = [(-score, page) for page in self._sources if words and (score := _score(page, words))]
        best = sorted(scored, key=lambda entry: (entry[0], entry[1].title))[:_RESULTS_MAX]
        return [_result(page, words) for _, page in best]

    @functools.cached_property
    def _sources(self) -> Sequence["_Source"]:
        """The pages as they are searched: rendering all of them would take a second."""
        return [_read_source(path, file.read_text(encoding="utf-8")) for path, file in self._pages.items()]

    def _document(self, path: str) -> Document:
        if path not in self._rendered:
            self._rendered[path] = _render(path, self._pages[path].read_text(encoding="utf-8"), known=self._targets)
        return self._rendered[path]

    @functools.cached_property
    def _targets(self) -> Mapping[str, str]:
        """The links of pages and pictures by their paths."""
        pictures = {path: PREFIX + path.removeprefix("docs") for path in self._pictures}
        return {path: document_link(path) for path in self._pages} | pictures


@functools.cache
def open_documentation() -> Documentation:
    """Return the documentation of this installation: in the package, or in the repository it is run from."""
    package = Path(str(files("punchcard")))
    for root in (package / "documentation", package.parents[1]):
        if (root / INDEX).is_file():
            return Documentation(root, package)
    return Documentation(None, package)


def document_link(path: str) -> str:
    """Return the path in the App of a page, by its path below the root of the repository."""
    if path == INDEX:
        return PREFIX
    return f"{PREFIX}/{quote(path.removesuffix('.md').removeprefix('docs/'))}"


def _folders_above(link: str) -> Iterator[str]:
    """Return the paths in the App of the folders that a page is in, the innermost first."""
    folder = link.rpartition("/")[0]
    while len(folder) > len(PREFIX):
        yield folder
        folder = folder.rpartition("/")[0]


def read_navigation(index: str) -> Navigation:
    """Return the sections of the index with the pages they list, each as title and path below the root."""
    navigation: Navigation = {}
    pages: list[dict[str, str]] = []
    for match in _HEADING_OR_LINK.finditer(index):
        if section := match["section"]:
            pages = navigation.setdefault(section, [])
        else:
            pages.append({match["title"]: _join("docs", match["page"])})
    return {section: pages for section, pages in navigation.items() if pages}


def _join(folder: str, link: str) -> str:
    """Return the path below the root that a link of a page in this folder leads to."""
    parts = folder.split("/") if folder else []
    for part in link.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _render(path: str, source: str, *, known: Mapping[str, str]) -> Document:
    """Render a page.

    Args:
        known: What links may lead to: paths below the root, with their links. Links to anything else become text.
    """
    parser = MarkdownIt("commonmark", {"html": True}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
    tokens = parser.parse(source)
    title, tokens = _take_title(tokens, path)
    folder = path.rpartition("/")[0]
    headings = list(_name_headings(tokens))
    for token in tokens:
        if token.type == "inline":
            _resolve_links(token.children or [], folder, known)
        if token.type in ("td_open", "th_open") and "style" in token.attrs:
            # The security policy of the pages forbids styles in attributes.
            alignment = str(token.attrs.pop("style")).removeprefix("text-align:")
            token.attrs["class"] = {"right": "text-end", "center": "text-center"}.get(alignment, "text-start")
    content = parser.renderer.render(tokens, parser.options, {})
    return Document(
        path=path,
        title=title,
        content=Markup(content),  # of our own files; raw HTML in them is left out
        headings=headings,
    )


def _take_title(tokens: list[Token], path: str) -> tuple[str, list[Token]]:
    """Return the title of a page, and the tokens without it."""
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h1":
            return _plain(tokens[index + 1]), [*tokens[:index], *tokens[index + 3 :]]
    return path, tokens


def _name_headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Give every heading an anchor, as GitHub does."""
    used: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            text = _plain(tokens[index + 1])
            anchor = _anchor(text)
            number = used[anchor] = used.get(anchor, -1) + 1
            token.attrs["id"] = f"{anchor}-{number}" if number else anchor
            yield Heading(level=int(token.tag[1:]), text=text, anchor=str(token.attrs["id"]))


def _anchor(text: str) -> str:
    letters = "".join(
        character
        for character in unicodedata.normalize("NFC", text.lower())
        if character.isalnum() or character in " -_"
    )
    return letters.replace(" ", "-")


def _resolve_links(children: list[Token], folder: str, known: Mapping[str, str]) -> None:
    """Resolve links and pictures to pages of the App; a link to a file that it does not serve becomes text."""
    is_left_out = False
    for child in children:
        if child.type == "link_open":
            link = _resolve(str(child.attrs.get("href", "")), folder, known)
            is_left_out = link is None
            if link is not None:
                child.attrs["href"] = link
        if child.type == "image":
            child.attrs["src"] = _resolve(str(child.attrs.get("src", "")), folder, known) or ""
        if is_left_out and child.type in ("link_open", "link_close"):
            is_left_out = child.type == "link_open"
            child.type, child.tag, child.content, child.nesting = "text", "", "", 0


def _resolve(link: str, folder: str, known: Mapping[str, str]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path:
        return link
    target = known.get(_join(folder, parts.path))
    return None if target is None else target + (f"#{parts.fragment}" if parts.fragment else "")


def _plain(inline: Token) -> str:
    """Return the text of a line."""
    return "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in inline.children or []
        if child.type in ("text", "code_inline", "softbreak", "hardbreak")
    ).strip()


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A page as it is searched: its words without the markup."""

    path: str
    title: str
    headings: Sequence[str]
    text: str


def _read_source(path: str, source: str) -> _Source:
    text = _MARKUP.sub(r"\1", _COMMENT.sub("", source))
    headings = [_MARKUP.sub(r"\1", heading).strip() for heading in _HEADING.findall(text)]
    body = " ".join(text.replace("|", " ").replace("#", " ").split())
    return _Source(path=path, title=headings[0] if headings else path, headings=headings[1:], text=body)


def _score(page: _Source, words: Sequence[str]) -> int:
    """Return how well a page fits the words, 0 if it lacks one of them."""
    title, headings, text = page.title.lower(), " ".join(page.headings).lower(), page.text.lower()
    score = 0
    for word in words:
        weight = _TITLE_WEIGHT * (word in title) + _HEADING_WEIGHT * (word in headings)
        weight += min(text.count(word), _TEXT_MAX)
        if not weight:
            return 0
        score += weight
    return score


def _result(page: _Source, words: Sequence[str]) -> SearchResult:
    """Return a page as a result: the link leads to the first heading with all words, if there is one."""
    heading = next((text for text in page.headings if all(word in text.lower() for word in words)), "")
    lower = page.text.lower()
    first = min((place for word in words if (place := lower.find(word)) >= 0), default=0)
    begin = page.text.rfind(" ", 0, max(0, first - _SNIPPET_CHARACTERS // 4)) + 1
    end = begin + _SNIPPET_CHARACTERS
    return SearchResult(
        title=page.title,
        link=document_link(page.path) + (f"#{_anchor(heading)}" if heading else ""),
        snippet=("… " if begin else "") + page.text[begin:end] + (" …" if end < len(page.text) else ""),
    )


class _Renderer(RendererHTML):
    """Renders tokens; raw HTML, which is comments only, is left out."""

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Leave a block of HTML out."""
        return ""

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Leave HTML within a line out."""
        return ""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Render a block of code, which can be scrolled with the keyboard."""
        return f'<pre tabindex="0"><code>{html.escape(tokens[idx].content)}</code></pre>\n'

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Begin a table, which can be scrolled if it is wider than the screen."""
        return '<div class="table-responsive" tabindex="0"><table class="table table-sm">\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """End a table."""
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Begin the heading of a column."""
        tokens[idx].attrs["scope"] = "col"
        return self.renderToken(tokens, idx, options, env)
