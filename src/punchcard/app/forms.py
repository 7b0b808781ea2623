"""Errors of forms, shown beside their fields."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from punchcard.errors import ConfigurationError
from punchcard.operations.sentences import as_sentence, shorten
from punchcard.workspace.problems import Problem, render_path

_PART_KEYS = 2  # `destinations.points`: the page shows a single part, so its path is left out
_LINE = re.compile(r"\[(\d+)\]")

_NAMING: Final = frozenset({"name", "slug", "key"})
"""Fields by which a part is named: every form that adds one has them."""


@dataclass
class FormErrors:
    """Errors of a form.

    Attributes:
        fields: Messages by the name of the field.
        general: Messages that belong to no field.
    """

    fields: dict[str, str] = field(default_factory=dict)
    general: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.fields or self.general)

    def for_field(self, name: str) -> str:
        """Return the message for a field, "" for none."""
        return as_sentence(shorten(self.fields.get(name, "")))


def attach_to_fields(errors: FormErrors, names: Iterable[str]) -> FormErrors:
    """Return the errors with those of entries within a field (such as a map) attached to the field itself.

    Args:
        names: Names of the fields in the form.
    """
    form_fields = set(names)
    fields: dict[str, str] = {}
    for path, message in errors.fields.items():
        name, _, entry = path.partition(".")
        if name in form_fields and entry:
            message = f"{entry}: {message}"
        target = name if name in form_fields else path
        fields[target] = "; ".join(filter(None, (fields.get(target), message)))
    return FormErrors(fields=fields, general=errors.general)


def form_errors_from(
    error: ConfigurationError,
    *,
    names: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    prefix_keys: int = _PART_KEYS,
) -> FormErrors:
    """Return the problems of an error by field.

    Args:
        error: Error of saving a configuration.
        names: Field names for paths within the part, where they differ, such as `{"settings.eventMap": "map"}`.
        only: The fields that the form has; what is wrong elsewhere belongs to no field. None: it has all of them.
        prefix_keys: How many keys of a path name the part that the page shows.
    """
    problems = error.context.get("problems")
    errors = FormErrors()
    if not isinstance(problems, tuple):
        field = error.context.get("field")
        if field in _NAMING and (only is None or field in only):
            return FormErrors(fields={str(field): error.message})
        errors.general.append(as_sentence(shorten(error.message)))
        return errors
    for problem in problems:
        assert isinstance(problem, Problem)
        path = render_path(problem.path[prefix_keys:])
        name, within = _find_field(path, names or {})
        if name and only is not None and name not in only:
            errors.general.append(as_sentence(shorten(f"{path}: {problem.message}")))
        elif name:
            message = f"{within}: {problem.message}" if within else problem.message
            errors.fields[name] = "; ".join(filter(None, (errors.fields.get(name), message)))
        else:
            errors.general.append(shorten(str(problem)))
    return errors


def _find_field(path: str, names: Mapping[str, str]) -> tuple[str, str]:
    """Return the field for a path, and the rest of the path."""
    for begin, name in names.items():
        if path == begin or path.startswith((f"{begin}.", f"{begin}[")):
            within = path.removeprefix(begin).lstrip(".")
            line = _LINE.fullmatch(within)
            return name, f"Line {int(line[1]) + 1}" if line else within
    return path, ""
