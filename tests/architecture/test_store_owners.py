"""Every table has an owner: a package of `punchcard.store`, and nothing outside it has a statement on the table.

See docs/decisions/0024-tables-beside-their-statements.md.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import punchcard.store.engine  # noqa: F401  # its imports fill the metadata
from punchcard.store.schema import metadata

SOURCE = Path(__file__).parents[2] / "src"
STORE = "punchcard/store/"
MIGRATIONS = f"{STORE}migrations/"
# Tests damage stored rows on purpose, as an older version or an operator with a database client may have.
FAKES = "punchcard/testing/"
# Modules that use the tables of another owner; each with the reason.
REVIEWED = {
    f"{STORE}engine.py": "imports all tables, for their metadata",
    f"{STORE}delivery/delivered.py": "a reconciliation compares 100,000 delivered effects with what was shown for them",
    f"{STORE}operations/partner_transactions.py": "likewise, transactions without an effect",
}
# The parts of SQLAlchemy with which statements are written. `Connection` is what everybody passes on.
STATEMENTS = {"select", "insert", "update", "delete", "text", "union_all", "exists", "func", "Table", "literal_column"}


@cache
def modules() -> dict[str, ast.Module]:
    paths = [path for path in sorted((SOURCE / "punchcard").rglob("*.py")) if FAKES not in path.as_posix()]
    trees = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in paths}
    return {name: tree for name, tree in trees.items() if not name.startswith(MIGRATIONS)}


@cache
def nodes(tree: ast.Module) -> list[ast.AST]:
    return list(ast.walk(tree))


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module and name of every import; the name of a whole module is empty."""
    for node in nodes(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                yield from ((module, alias.name) for alias in names)
            case ast.Import(names=names):
                yield from ((alias.name, "") for alias in names)


def owner_of(name: str) -> str:
    """The package of the store that a module is in, "" for the rest."""
    parts = name.removeprefix(STORE).split("/")
    return parts[0] if name.startswith(STORE) and len(parts) == 2 else ""


@cache
def owners() -> dict[str, str]:
    """The owner of each table, by the `schema` module that defines it."""
    tables = {}
    for name, tree in modules().items():
        if not name.startswith(STORE):  # `rich` has a class of that name
            continue
        for node in nodes(tree):
            match node:
                case ast.Call(func=ast.Name(id="Table"), args=[ast.Constant(value=str(table)), *_]):
                    assert name.endswith("/schema.py"), f"{name} defines {table}: tables belong to a `schema` module"
                    tables[table] = owner_of(name)
    return tables


def foreign_imports(trees: dict[str, ast.Module]) -> list[str]:
    return [
        f"{name} imports {imported} of {module}"
        for name, tree in trees.items()
        for module, imported in imports(tree)
        if (match := re.fullmatch(r"punchcard\.store\.(\w+)(\.schema)?", module))
        and (match[2] or imported == "schema")
        and match[1] != owner_of(name)
    ]


def foreign_texts(trees: dict[str, ast.Module]) -> list[str]:
    """SQL as text that names a table of another owner."""
    pattern = re.compile(rf"\b(?:FROM|INTO|UPDATE|JOIN|TABLE)\s+({'|'.join(owners())})\b")
    return [
        f"{name}:{node.lineno} names {match[1]}"
        for name, tree in trees.items()
        if not name.startswith(("punchcard/lake/", "punchcard/sandbox/"))  # with databases of their own
        for node in nodes(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for match in pattern.finditer(node.value)
        if owners()[match[1]] != owner_of(name)
    ]


def test_every_table_has_an_owner() -> None:
    assert set(owners()) == set(metadata.tables)
    assert "" not in owners().values()
    assert len(set(owners().values())) == 10


def test_tables_are_used_by_their_owner_only() -> None:
    uses = foreign_imports(modules())
    assert [use for use in uses if use.split()[0] not in REVIEWED] == [], "call, or add, a function of the owner"
    assert {use.split()[0] for use in uses} == set(REVIEWED), "remove what is not needed any more"


def test_no_text_is_a_statement_on_the_table_of_another() -> None:
    ping = [f"{STORE}engine.py"]  # writes a row of a small table, to prove that the store takes writes
    assert [use for use in foreign_texts(modules()) if use.split(":")[0] not in ping] == []


def test_statements_are_written_in_the_store_only() -> None:
    assert [
        f"{name}: {imported}"
        for name, tree in modules().items()
        if not name.startswith(STORE)
        for module, imported in imports(tree)
        if module == "sqlalchemy" and imported in STATEMENTS
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "from punchcard.store.delivery.schema import effects",
        "from punchcard.store.delivery import schema",
        "import punchcard.store.delivery.schema",
    ],
)
def test_a_foreign_import_is_noticed(source: str) -> None:
    trees = {name: ast.parse(source) for name in ("punchcard/store/engage/x.py", "punchcard/store/delivery/x.py")}
    assert [use.split()[0] for use in foreign_imports(trees)] == ["punchcard/store/engage/x.py"]


def test_a_foreign_text_is_noticed() -> None:
    tree = ast.parse('x("SELECT state FROM  effects WHERE id = 1")')
    trees = dict.fromkeys(("punchcard/app/x.py", "punchcard/store/delivery/x.py"), tree)
    assert foreign_texts(trees) == ["punchcard/app/x.py:1 names effects"]
