"""Finds the line of a key in a TOML file, which tomllib does not report, for error messages."""

import re
from collections.abc import Mapping, Sequence

from punchcard.workspace.problems import KeyPath

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(
    r"""\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*="""
)
_KEY_PART = re.compile(r""""((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+)""")


def find_line(path: KeyPath, *, text: str, document: Mapping[str, object]) -> int | None:
    """Return the line, counted from 1, of the key or of the nearest enclosing table.

    The file is read line by line, so a multi-line text that looks like TOML may give a wrong line. Messages contain the
    key path as well, which is always right.

    Args:
        path: Key path with entries of lists by slug or index.
        text: Text of the file.
        document: The parsed file, to find entries by slug.
    """
    lines = _lines_by_path(text)
    indexed_path = _by_index(path, document)
    while indexed_path:
        if indexed_path in lines:
            return lines[indexed_path]
        indexed_path = indexed_path[:-1]
    return None


def has_path(path: KeyPath, document: Mapping[str, object]) -> bool:
    """Return True if the document has a value at the path."""
    return len(_by_index(path, document)) == len(path)


def _lines_by_path(text: str) -> Mapping[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _table_path(_split_key(header[2]), counts, opens_entry=header[1] == "[[")
            lines.setdefault(table, number)
            if table and isinstance(table[-1], int):
                lines.setdefault(table[:-1], number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_split_key(assignment[1])), number)
    return lines


def _table_path(names: Sequence[str], counts: dict[KeyPath, int], *, opens_entry: bool) -> KeyPath:
    # `[destinations.settings]` belongs to the last `[[destinations]]`.
    path: KeyPath = ()
    for depth, name in enumerate(names):
        path = (*path, name)
        if opens_entry and depth == len(names) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _split_key(dotted: str) -> tuple[str, ...]:
    return tuple(double or single or bare for double, single, bare in _KEY_PART.findall(dotted))


def _by_index(path: KeyPath, document: Mapping[str, object]) -> KeyPath:
    """Return the path with indexes instead of slugs, up to the first key that the document lacks."""
    key_path: KeyPath = ()
    value: object = document
    for part in path:
        if isinstance(value, list):
            slugs = [entry.get("slug") if isinstance(entry, Mapping) else None for entry in value]
            index = part if isinstance(part, int) else slugs.index(part) if part in slugs else len(value)
            if index >= len(value):
                return key_path
            key_path, value = (*key_path, index), value[index]
        elif isinstance(value, Mapping) and part in value:
            key_path, value = (*key_path, part), value[part]
        else:
            return key_path
    return key_path
