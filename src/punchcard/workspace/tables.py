"""Typed reading of a TOML document that collects all problems with their paths."""

import difflib
import math
from collections.abc import Mapping, Sequence

import msgspec

from punchcard.events.json_problems import describe_json_problem
from punchcard.workspace.problems import IS_MISSING, UNKNOWN_KEY, KeyPath, Problem
from punchcard.workspace.variables import MissingVariableError, substitute_variables

_KINDS: Mapping[type, str] = {
    bool: "true or false",
    str: "text",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class TableReader:
    """A table of the document. Wrong values are added to `problems` and read as if they were missing.

    Args:
        path: Path of the table.
        values: Values of the table.
        environment: Values for `${NAME}` in texts.
        problems: List that problems are added to.
    """

    def __init__(
        self, path: KeyPath, values: object, *, environment: Mapping[str, str], problems: list[Problem]
    ) -> None:
        self.path = path
        self._environment = environment
        self._problems = problems
        self._values: Mapping[str, object] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            self.note((), f"Must be a table, not {_kind(values)}.")

    def note(self, path: KeyPath, message: str) -> None:
        """Add a problem at a path below this table."""
        self._problems.append(Problem(path=(*self.path, *path), message=message))

    def only(self, *known: str) -> None:
        """Add a problem for every unknown key."""
        for key in self._values.keys() - set(known):
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f'Did you mean "{nearest[0]}"?' if nearest else f"Known keys: {', '.join(known)}."
            self.note((key,), f"{UNKNOWN_KEY} {hint}")

    def has(self, key: str) -> bool:
        """Return True if the table has the key, whatever its value."""
        return key in self._values

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text; required if there is no default."""
        value = self._values.get(key)
        if isinstance(value, str):
            return self._filled((key,), value)
        self._note_absence(key, str, required=default is None)
        return default or ""

    def json_object(self, key: str, *, of: str) -> dict[str, object]:
        """Return the object in a JSON text; required.

        Args:
            of: What the object is, such as "a schema".
        """
        value = self._values.get(key)
        if not isinstance(value, str):
            self.note(
                (key,), f"Must be the JSON text of {of}, not {_kind(value)}." if key in self._values else IS_MISSING
            )
            return {}
        try:
            text = substitute_variables(value, self._environment)
        except MissingVariableError as error:
            self.note((key,), str(error))
            return {}
        try:
            return msgspec.json.decode(text, type=dict[str, object])
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            self.note((key,), f"Must be the JSON text of {of}: {describe_json_problem(text, error)}.")
        return {}

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value."""
        value = self._values.get(key)
        if isinstance(value, bool):
            return value
        self._note_absence(key, bool, required=False)
        return default

    def number(self, key: str, *, default: int) -> int:
        """Return a whole number."""
        value = self._values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self._note_absence(key, int, required=False)
        return default

    def decimal(self, key: str) -> float | None:
        """A finite number; None if it is left out or is not one."""
        value = self._values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        self._note_absence(key, float, required=False)
        return None

    def names(self) -> Sequence[str]:
        """Return the keys of the table."""
        return list(self._values)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self._values.get(key)
        if not isinstance(value, list):
            self._note_absence(key, list, required=True)
            return ()
        texts = []
        for index, item in enumerate(value):
            if isinstance(item, str):
                texts.append(self._filled((key, index), item))
            else:
                self.note((key, index), f"Must be text, not {_kind(item)}.")
        return tuple(texts)

    def table(self, key: str) -> "TableReader":
        """Return an inner table, empty if it is missing."""
        return self._reader((key,), self._values.get(key, {}))

    def tables(self, key: str) -> Sequence["TableReader"]:
        """Return a list of tables, empty if it is missing."""
        value = self._values.get(key, [])
        if not isinstance(value, list):
            self.note((key,), f"Must be a list of tables (`[[{key}]]`), not {_kind(value)}.")
            return ()
        return [self._reader((key, index), item) for index, item in enumerate(value)]

    def free(self) -> dict[str, object]:
        """Return the whole table as data, with variables substituted. The caller validates its keys."""
        return {key: self._plain((key,), value) for key, value in self._values.items()}

    def _reader(self, path: KeyPath, values: object) -> "TableReader":
        return TableReader((*self.path, *path), values, environment=self._environment, problems=self._problems)

    def _plain(self, path: KeyPath, value: object) -> object:
        if isinstance(value, str):
            return self._filled(path, value)
        if isinstance(value, dict):
            return {key: self._plain((*path, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._plain((*path, index), item) for index, item in enumerate(value)]
        if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        self.note(path, f"Must be text, a finite number, true or false, a list or a table, not {_kind(value)}.")
        return None

    def _filled(self, path: KeyPath, text: str) -> str:
        try:
            return substitute_variables(text, self._environment)
        except MissingVariableError as error:
            self.note(path, str(error))
            return text

    def _note_absence(self, key: str, expected: type, *, required: bool) -> None:
        if key in self._values:
            self.note((key,), f"Must be {_KINDS[expected]}, not {_kind(self._values[key])}.")
        elif required:
            self.note((key,), IS_MISSING)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")
