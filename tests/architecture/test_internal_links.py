"""Every link and form of the App leads to a page that exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from punchcard.app.pages import HANDLERS

APP = Path(__file__).parents[2] / "src/punchcard/app"
TEMPLATES = sorted((APP / "templates").rglob("*.html"))
MODULES = sorted(APP.rglob("*.py"))
ANY = None
"""A segment that is known only when the page is shown."""

Segments = tuple[str | None, ...]
_ATTRIBUTE = re.compile(r'\b(?:href|action|formaction|hx-get|hx-post)="(/[^"{]*)"')


@cache
def routes() -> frozenset[Segments]:
    """The paths of all pages; a parameter is `ANY`."""
    paths = [path for handler in HANDLERS for path in handler.paths]
    return frozenset(
        tuple(ANY if segment.startswith("{") else segment for segment in path.strip("/").split("/")) for path in paths
    )


def literal(path: str) -> Segments:
    return tuple(re.split(r"[?#]", path)[0].strip("/").split("/"))


def leads_somewhere(segments: Segments) -> bool:
    """Return True if a page has this path; a literal segment must be one of the page's path, too."""
    return any(
        len(segments) == len(route) and all(part in (ANY, known) for part, known in zip(segments, route, strict=True))
        for route in routes()
    )


def paths_of_template(text: str) -> Iterator[Segments]:
    """Yield the paths in a template: attributes, and calls of `page_path` with known numbers of segments."""
    for path in _ATTRIBUTE.findall(text):
        yield literal(path)
    for call in Environment(extensions=["jinja2.ext.do"]).parse(text).find_all(nodes.Call):  # parsed only
        if isinstance(call.node, nodes.Name) and call.node.name == "page_path" and call.dyn_args is None:
            yield tuple(str(part.value) if isinstance(part, nodes.Const) else ANY for part in call.args)


def paths_of_module(text: str) -> Iterator[Segments]:
    """Yield the paths of the calls of `page_path` in a module."""
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "page_path":
            continue
        if not any(isinstance(part, ast.Starred) for part in call.args):
            yield tuple(str(part.value) if isinstance(part, ast.Constant) else ANY for part in call.args)


def shown(segments: Segments) -> str:
    return "/" + "/".join(segment or "…" for segment in segments)


def lost_paths(files: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(APP)}: {shown(segments)}"
        for path in files
        for segments in (paths_of_template if path.suffix == ".html" else paths_of_module)(path.read_text())
        if not leads_somewhere(segments)
    ]


def test_every_link_and_form_leads_to_a_page() -> None:
    assert lost_paths(TEMPLATES) == []


def test_every_path_in_code_leads_to_a_page() -> None:
    assert lost_paths(MODULES) == []


@pytest.mark.parametrize(
    ("text", "is_known"),
    [
        ('<a href="/sources">', True),
        ('<a href="/sources?x=1">', True),
        ('<a href="/nowhere">', False),
        ("{{ page_path('sources', source.slug) }}", True),
        ("{{ page_path('protocols', 'transformations', transformation.slug) }}", False),
        ("{% set path = page_path('sources', slug, 'nowhere') %}", False),
    ],
)
def test_a_path_that_leads_nowhere_is_found(text: str, is_known: bool) -> None:
    assert [leads_somewhere(segments) for segments in paths_of_template(text)] == [is_known]
