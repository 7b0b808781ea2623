"""The documentation holds together: links lead somewhere, every page is found, and whatever it shows is what works."""

import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from punchcard.cli.app import app
from punchcard.events.model import Event
from punchcard.events.parse import BATCH, read_request
from punchcard.runtime.settings import setting_entries
from punchcard.workspace.file import read_content

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "punchcard"
INDEX = ROOT / "docs" / "README.md"
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "src/**/*.md") for path in ROOT.glob(pattern)
)

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
# Files that a reader or a running Punchcard creates; they are not part of the project.
MADE_LATER = {"send.py", "punchcard.toml", "cdnow.toml", "data/", "lake/", "metrics/", "dist/site/", "dist/0.2.0/"}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def blocks(*languages: str) -> list[Block]:
    return [
        Block(name_of(page), page.read_text().count("\n", 0, match.start()) + 1, match[1], match[2])
        for page in PAGES
        for match in FENCE.finditer(page.read_text())
        if not languages or match[1] in languages
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks and without what is generated from."""
    return re.sub(r"<!-- \[\[\[cog.*?\]\]\] -->", "", FENCE.sub("", page.read_text()), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the page's headings."""
    seen: Counter[str] = Counter()
    slugs = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        slugs.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return slugs


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Every link of a page that leads to a place in the project: as written, its file, its anchor."""
    without_code = re.sub(r"`[^`\n]*`", "code", prose(page))
    for target in LINK.findall(without_code):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield target, (page.parent / path).resolve() if path else page, anchor


def test_the_search_sees_the_pages() -> None:
    assert {"README.md", "docs/README.md", "src/punchcard/destinations/perkville/README.md"} <= set(map(name_of, PAGES))
    assert sum(1 for page in PAGES for _ in links(page)) > 80


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [
        target
        for target, path, anchor in links(page)
        if not path.exists() or (anchor and anchor not in anchors(path)) or not path.is_relative_to(ROOT)
    ]
    assert broken == []


def test_the_index_leads_to_every_page() -> None:
    linked = {path for _, path, _ in links(INDEX)}
    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {INDEX}
    assert {name_of(page) for page in pages - linked} == set()
    assert INDEX in {path for _, path, _ in links(ROOT / "README.md")}


def test_every_picture_is_shown_by_a_page() -> None:
    """A picture that no page shows was taken for somebody's eyes, not for readers."""
    shown = {target.rpartition("/")[2] for page in PAGES for target in LINK.findall(page.read_text())}
    pictures = {path.name for path in (ROOT / "docs").rglob("*.png")}
    assert pictures
    assert pictures - shown == set()


def test_decisions_are_numbered_and_have_their_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:5] for page in pages] == [f"{number:04}-" for number in range(1, len(pages) + 1)]
    for number, page in enumerate(pages, start=1):
        assert page.read_text().startswith(f"# {number}. "), page.name
        headings = [match for match in re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE) if match != "Options"]
        assert headings == ["Context", "Decision", "Consequences"], page.name


def is_there(name: str, page: Path) -> bool:
    """From the project's root, from the package, from the page's folder, or by its name alone."""
    if any((folder / name).exists() for folder in (ROOT, SOURCE, page.parent)):
        return True
    return "/" not in name and any(list((ROOT / folder).rglob(name)) for folder in ("src", "tests"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = set(re.findall(r"`(\.?\w[\w./-]*(?:\.py|\.toml|\.md|/))`", prose(page)))
    assert {name for name in named - MADE_LATER if not is_there(name, page)} == set()


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/how-to/change-punchcard.md"])
def test_the_pages_that_lead_through_the_code_name_many_files(page: str) -> None:
    """Guards the search above: names that are written in a new way must not drop out unseen."""
    assert len(re.findall(r"`[\w./-]*/[\w./-]*`", prose(ROOT / page))) > 8


def test_the_architecture_names_every_package_and_no_other() -> None:
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    # A name in brackets is a package that may be added later.
    rows = [[name.strip() for name in row.split("|") if "(" not in name] for row in layers]
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("| package |")[2].partition("\n\n")[0]
    documented = [re.findall(r"`(\w+)`", row.replace("\\|", " ").split("|")[1]) for row in table.splitlines()[2:]]
    assert [set(row) for row in documented] == [set(row) for row in rows if row]
    existing = {path.stem for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    named = set(re.findall(r"`(\w+)`", (ROOT / "ARCHITECTURE.md").read_text()))
    assert existing - named == set()


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.place)
def test_every_config_file_shown_is_one(block: Block) -> None:
    """A whole file is read as it stands, a part of one in its place: by the very reader of `up`."""
    text = block.text
    if not re.search(r"^\[", text, re.MULTILINE):
        tomllib.loads(text)  # a single line, to be put into the file of the page
        return
    if "[[sources]]" not in text:
        text = '[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n' + text
    if "[[destinations]]" not in text:
        settings = '{ apiKey = "k", businessId = "41", locationId = "7", eventToPerkMap = {}, sendEmail = false }'
        perkville = '[[destinations]]\nslug = "perkville"\ntype = "perkville"\nsource = "website"\n'
        text += f"{perkville}settings = {settings}\n"
    environment = {name: f"value_of_{name}" for name in re.findall(r"\$\{(\w+)\}", text)}
    workspace = read_content(text.encode(), block.place, environment=environment)
    assert workspace.sources
    assert workspace.destinations


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.place)
def test_every_json_shown_is_json(block: Block) -> None:
    json.loads(block.text)


def events_sent() -> list[tuple[str, str, str]]:
    """Every body that a page sends to the Tracking API or the Event Tester: where, the call, the body."""
    events = []
    for block in blocks("sh"):
        for call, body in re.findall(
            r"/(v1/\w+|api/events/test)\b[^']*(?:'Content-Type[^']*' )?-d '(.+?)'", block.text, re.DOTALL
        ):
            events.append((block.place, call.rpartition("/")[2].replace("test", "track"), body))
        for kind, name, properties in re.findall(
            r'send [^\n]*?(track) "([^"]+)"(?:.|\\\n)*?--properties \'(.+?)\'', block.text
        ):
            body = {"userId": "ann", "event": name, "properties": json.loads(properties)}
            events.append((block.place, kind, json.dumps(body)))
    return events


def test_events_are_found_where_they_are_known_to_be() -> None:
    pages = {place.partition(":")[0] for place, _, _ in events_sent()}
    assert {"README.md", "docs/reference/tracking-api.md", "docs/reference/public-api.md"} <= pages
    assert len(events_sent()) > 8


@pytest.mark.parametrize("sent", events_sent(), ids=lambda sent: sent[0])
def test_every_event_sent_by_a_page_is_one(sent: tuple[str, str, str]) -> None:
    _, call, body = sent
    now = datetime(2026, 1, 31, tzinfo=UTC)
    items = read_request(body.encode(), call=BATCH if call == "batch" else call, received_at=now, position=1, ip="")
    assert items
    assert all(isinstance(item, Event) for item in items), items


def command_lines() -> list[tuple[str, list[str]]]:
    """Every call of `punchcard` in a block of commands."""
    lines = []
    for block in blocks("sh", "console"):
        text = block.text.replace("\\\n", " ")
        for line in re.findall(r"(?:^\$ |^|\$\(|[|&;] *)(?:\.venv/bin/)?punchcard ([a-z][^\n|&]*)", text, re.MULTILINE):
            words = shlex.split(line.removesuffix(")"), comments=True)
            lines.append((block.place, words))
    return lines


@cache
def command_line() -> typer.core.TyperCommand | typer.core.TyperGroup:
    return typer.main.get_command(app)  # type: ignore[return-value]


@pytest.mark.parametrize("line", command_lines(), ids=lambda line: f"{line[0]} {' '.join(line[1][:2])}")
def test_every_command_of_a_page_is_one(line: tuple[str, list[str]]) -> None:
    """Names and options, as the command line itself parses them; nothing is run."""
    _, words = line
    command = command_line()
    context = command.context_class(command, info_name="punchcard")
    while isinstance(command, typer.core.TyperGroup):
        options, rest, _ = command.make_parser(context).parse_args(list(words))
        assert options is not None
        name, *words = rest
        assert name in command.commands
        command = command.commands[name]  # type: ignore[assignment]
        context = command.context_class(command, info_name=name, parent=context)
    command.make_parser(context).parse_args(list(words))


def test_commands_are_found_where_they_are_known_to_be() -> None:
    assert {words[0] for _, words in command_lines()} >= {"up", "check", "send", "trace", "import", "retry", "sandbox"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_and_variable_of_a_page_is_there(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = " \n".join(block.text for block in blocks("sh", "console") if block.page == name_of(page))
    named = set(re.findall(r"(?:^|\$ )make ([a-z]+)", typed, re.MULTILINE)) | set(re.findall(r"`make ([a-z]+)`", text))
    assert named - targets == set()
    variables = {entry.variable for entry in setting_entries()}
    assert set(re.findall(r"\bPUNCHCARD_[A-Z_]*[A-Z]", text)) - variables == set()
