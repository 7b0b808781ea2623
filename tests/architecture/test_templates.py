"""Templates of the App stay readable and accessible."""

import re
from pathlib import Path

import pytest

TEMPLATES = sorted((Path(__file__).parents[2] / "src/punchcard/app/templates").glob("*.html"))
LINE_LENGTH_MAX = 160
_ADDRESS = re.compile(r'(?:href|action|hx-get|hx-post)="/[^"]*\{\{')
_HEADER_WITHOUT_SCOPE = re.compile(r"<th(?![^>]*\bscope=)[ >]")


def test_templates_are_found() -> None:
    assert len(TEMPLATES) > 20


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_lines_are_short_links_are_built_by_page_path_and_headers_have_a_scope(path: Path) -> None:
    problems = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if len(line) > LINE_LENGTH_MAX:
            problems.append(f"{path.name}:{number}: {len(line)} characters, at most {LINE_LENGTH_MAX} are allowed")
        if _ADDRESS.search(line):
            problems.append(f"{path.name}:{number}: build the link with page_path(…)")
        if _HEADER_WITHOUT_SCOPE.search(line):
            problems.append(f"{path.name}:{number}: add scope to <th>")
    assert not problems, "\n".join(problems)
