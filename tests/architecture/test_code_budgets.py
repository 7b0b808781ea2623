"""The code keeps to the limits of its style: small files and functions, nothing unfinished, silenced or mocked."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "bench", "release", "examples", "tests")

FILE_LINES_MAX = {"src": 400, "bench": 400, "release": 400, "examples": 400, "tests": 500}
FUNCTION_LINES_MAX = 50  # without the docstring
PAGE_LINES_MAX = {"ARCHITECTURE.md": 200, "README.md": 200}

# Larger files, which may shrink but not grow. A migration is never edited, so its length does not count.
LARGER_FILES = {
    # Each was read for a second concept, and holds one: the list of commands, all writes to `effects`.
    "src/punchcard/cli/app.py": 474,
    # What each kind of alert says: a function each.
    "src/punchcard/operations/alert_texts.py": 423,
    # One cycle of a destination in full, once together and once effect by effect.
    "src/punchcard/delivery/stages.py": 590,
    # One step of Engage, and what is held of it.
    "src/punchcard/engage/computation_engine.py": 534,
    "src/punchcard/store/engage/engage_tables.py": 423,
    "src/punchcard/store/delivery/outbox.py": 416,
    # Every setting with its type, and what is derived from several.
    "src/punchcard/runtime/settings.py": 436,
    "src/punchcard/workspace/snapshot.py": 451,
    # The steps of a deletion, in their order; reading a request body, whole or some of its events.
    "src/punchcard/operations/deletion_runner.py": 413,
    "src/punchcard/events/parse.py": 413,
    # What each table of a large store holds: a function each.
    "bench/big_store.py": 634,
    "src/punchcard/testing/world.py": 493,
    "tests/contract/test_perkville_client.py": 653,
}
LARGER_FUNCTIONS = {
    "bench/app.py:_fill": 53,
    "bench/pages.py:paths": 56,  # the list of all pages
    "tests/contract/test_store_engine.py:"
    "test_a_full_disk_is_a_storage_error_and_everything_works_once_there_is_room": 57,
}
MIGRATIONS = "src/punchcard/store/migrations/versions/"

UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def code() -> dict[str, tuple[str, ast.Module]]:
    """Text and tree of every Python file, by its path in the project."""
    modules = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            modules[path.relative_to(ROOT).as_posix()] = (text, ast.parse(text))
    return modules


@cache
def nodes_by_type() -> dict[type[ast.AST], list[tuple[str, ast.AST]]]:
    """Every node with the path of its file, by its type: all of them are visited once."""
    nodes: dict[type[ast.AST], list[tuple[str, ast.AST]]] = defaultdict(list)
    for name, (_, tree) in code().items():
        for node in ast.walk(tree):
            nodes[type(node)].append((name, node))
    return nodes


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """Every node of some types, or of types derived from them, with the path of its file."""
    for kind, matching_nodes in nodes_by_type().items():
        if issubclass(kind, kinds):
            yield from matching_nodes


def place(name: str, node: ast.stmt | ast.expr | ast.ExceptHandler) -> str:
    return f"{name}:{node.lineno}"


def length(function: Function) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    match function.body[0]:
        case ast.Expr(value=ast.Constant(value=str())) as docstring:
            return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)
    return lines


def too_long_functions() -> dict[str, int]:
    return {
        f"{name}:{node.name}": length(node)
        for name, node in nodes(ast.FunctionDef, ast.AsyncFunctionDef)
        if not name.startswith(MIGRATIONS) and length(node) > FUNCTION_LINES_MAX
    }


def too_long_files() -> dict[str, int]:
    lengths = {name: text.count("\n") for name, (text, _) in code().items()}
    return {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX[name.partition("/")[0]]}


def test_the_search_sees_the_code() -> None:
    assert {"src/punchcard/errors.py", "tests/conftest.py", "bench/__main__.py"} <= set(code())
    assert len(code()) > 200


def test_files_are_short_enough_to_read_at_once() -> None:
    assert {name: lines for name, lines in too_long_files().items() if lines > LARGER_FILES.get(name, 0)} == {}


def test_functions_are_short_enough_to_see_at_once() -> None:
    assert {name: lines for name, lines in too_long_functions().items() if lines > LARGER_FUNCTIONS.get(name, 0)} == {}


def test_no_exception_outlives_its_need() -> None:
    """What has become short enough is held to the limit of all from then on."""
    assert (set(LARGER_FILES) - set(too_long_files())) | (set(LARGER_FUNCTIONS) - set(too_long_functions())) == set()


@pytest.mark.parametrize("page", sorted(PAGE_LINES_MAX))
def test_what_everybody_reads_first_is_short(page: str) -> None:
    assert len((ROOT / page).read_text().splitlines()) <= PAGE_LINES_MAX[page]


def test_nothing_is_left_unfinished() -> None:
    texts = {name: text for name, (text, _) in code().items()}
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "examples/*",
        "src/**/*.toml",
        "src/**/*.html",
        "pyproject.toml",
        "Makefile",
    ):
        texts |= {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob(pattern) if path.is_file()}
    assert [
        f"{name}:{number}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if UNFINISHED.search(line)
    ] == []


def test_no_error_is_swallowed_in_silence() -> None:
    """Each handler names what it catches and does something; ignoring an error takes a `suppress` that names it."""

    def is_silent(handler: ast.ExceptHandler) -> bool:
        return all(
            isinstance(statement, ast.Pass)
            or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            for statement in handler.body
        )

    def suppresses_all(call: ast.Call) -> bool:
        is_suppress = ast.unparse(call.func) in ("suppress", "contextlib.suppress")
        return is_suppress and any(ast.unparse(arg) in ("Exception", "BaseException") for arg in call.args)

    matching_places = [
        place(name, node) for name, node in nodes(ast.ExceptHandler) if node.type is None or is_silent(node)
    ]
    matching_places += [place(name, node) for name, node in nodes(ast.Call) if suppresses_all(node)]
    assert matching_places == []


def test_nothing_is_mocked() -> None:
    def modules(node: ast.AST) -> list[str]:
        match node:
            case ast.Import(names=names):
                return [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names):
                return [module, *(f"{module}.{alias.name}" for alias in names)]
        return []

    imports = [
        (place(name, node), module) for name, node in nodes(ast.Import, ast.ImportFrom) for module in modules(node)
    ]
    assert len(imports) > 1000
    assert [
        (where, module) for where, module in imports if module.startswith(("unittest", "mock", "pytest_mock"))
    ] == []
