"""Problems of a config file as people read them: once each, with the line, and entries of lists by their slugs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from punchcard.workspace.key_lines import find_line, has_path
from punchcard.workspace.model import Workspace
from punchcard.workspace.problems import IS_MISSING, UNKNOWN_KEY, KeyPath, Problem
from punchcard.workspace.validate import entry_paths

_SPELLINGS: Final[Mapping[object, str]] = {"write_keys": "write_key", "sources": "source"}
"""Members of the model that the file may spell otherwise."""


class FileProblems:
    """Names the places of problems in one config file.

    Args:
        name: Name of the file.
        text: Its text.
        document: The same, parsed.
        workspace: What was read from it, problems or not.
    """

    def __init__(self, name: str, text: str, document: Mapping[str, object], workspace: Workspace) -> None:
        self._name = name
        self._text = text
        self._document = _with_slugs(document, workspace)

    def merge(self, reading: Iterable[Problem], semantic: Iterable[Problem]) -> list[Problem]:
        """Return the problems of reading, and those of the workspace that are not their consequences.

        Args:
            reading: With the index of an entry in their paths, as readers know it.
            semantic: With the slug of an entry.
        """
        read = [self._by_slug(problem) for problem in reading]
        problems = [problem for problem in read if not self._is_misspelt(problem, read)]
        reported_paths = {problem.path for problem in problems}
        written = map(self._as_written, semantic)
        return problems + [
            problem
            for problem in written
            if not _is_about(problem.path, reported_paths) and not self._is_misspelt(problem, problems)
        ]

    def _is_misspelt(self, problem: Problem, reported: Iterable[Problem]) -> bool:
        """Return whether a problem is about a missing key that an unknown one beside it may be meant to be."""
        table, key = problem.path[:-1], problem.path[-1]
        unknown = [
            each.message for each in reported if each.message.startswith(UNKNOWN_KEY) and each.path[:-1] == table
        ]
        if not unknown or has_path(problem.path, self._document):
            return False
        is_suggested = any(message.endswith(f'"{key}"?') for message in unknown)
        return is_suggested or problem.message != IS_MISSING

    def line(self, problem: Problem) -> str:
        """Return the problem as text, with file and line."""
        line = find_line(problem.path, text=self._text, document=self._document)
        return f"{self._name}:{line}: {problem}" if line else f"{self._name}: {problem}"

    def _by_slug(self, problem: Problem) -> Problem:
        if len(problem.path) < 2 or not isinstance(index := problem.path[1], int):
            return problem
        kind = str(problem.path[0])
        entries = self._document[kind]
        if not isinstance(entries, list):
            return problem
        slugs = [entry.get("slug") if isinstance(entry, dict) else None for entry in entries]
        return Problem(path=(*entry_paths(kind, slugs)[index], *problem.path[2:]), message=problem.message)

    def _as_written(self, problem: Problem) -> Problem:
        if len(problem.path) < 3 or (spelling := _SPELLINGS.get(problem.path[2])) is None:
            return problem
        written = (*problem.path[:2], spelling)
        return Problem(path=written, message=problem.message) if has_path(written, self._document) else problem


def _with_slugs(document: Mapping[str, object], workspace: Workspace) -> dict[str, object]:
    """Return the document with a slug in each entry of lists with derived slugs: problems name entries by it."""
    slugs_of: Mapping[str, Sequence[str]] = {
        "transformations": [transformation.slug for transformation in workspace.transformations],
        "alert_channels": [channel.slug for channel in workspace.alert_channels],
        "alert_rules": [rule.rule for rule in workspace.alert_rules],
    }
    named = dict(document)
    for kind, slugs in slugs_of.items():
        entries = document.get(kind)
        if isinstance(entries, list) and len(entries) == len(slugs):
            named[kind] = [
                {**entry, "slug": slug} if isinstance(entry, dict) else entry
                for entry, slug in zip(entries, slugs, strict=True)
            ]
    return named


def _is_about(path: KeyPath, noted: set[KeyPath]) -> bool:
    """Return True if a problem is reported at, above or below this path: another one would be a consequence."""
    return any(p[: len(path)] == path or path[: len(p)] == p for p in noted)
