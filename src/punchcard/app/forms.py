"""Forms that say beside each field what is wrong with it, and keep what was typed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from punchcard.errors import ConfigurationError
from punchcard.workspace.problems import Problem, render_path

_PATH_PREFIX_KEYS = 2  # `destinations.points`: which part it is, the page says


@dataclass
class FormErrors:
    """What is wrong with a form.

    Attributes:
        fields: By the name of the field.
        general: What belongs to no field.
    """

    fields: dict[str, str] = field(default_factory=dict)
    general: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.fields or self.general)

    def for_field(self, name: str) -> str:
        """What is wrong with a field, "" if nothing is."""
        return self.fields.get(name, "")


def attach_to_fields(errors: FormErrors, names: Iterable[str]) -> FormErrors:
    """Return the same, with what is wrong within a field (an entry of a map) at the field itself.

    Args:
        names: Of the fields that the form shows.
    """
    shown = set(names)
    fields: dict[str, str] = {}
    for path, message in errors.fields.items():
        name, _, entry = path.partition(".")
        if name in shown and entry:
            message = f"{entry}: {message}"
        place = name if name in shown else path
        fields[place] = "; ".join(filter(None, (fields.get(place), message)))
    return FormErrors(fields=fields, general=errors.general)


def form_errors_from(error: ConfigurationError, *, names: Mapping[str, str] | None = None) -> FormErrors:
    """What an error says, by field.

    Args:
        error: Of saving a configuration.
        names: The field for a path within the part, where it is another; `{"settings.eventMap": "map"}`.
    """
    problems = error.context.get("problems")
    errors = FormErrors()
    if not isinstance(problems, tuple):
        errors.general.append(error.message)
        return errors
    for problem in problems:
        assert isinstance(problem, Problem)
        path = render_path(problem.path[_PATH_PREFIX_KEYS:])
        name, within = _find_field(path, names or {})
        if name:
            said = f"{within}: {problem.message}" if within else problem.message
            errors.fields[name] = "; ".join(filter(None, (errors.fields.get(name), said)))
        else:
            errors.general.append(str(problem))
    return errors


def _find_field(path: str, names: Mapping[str, str]) -> tuple[str, str]:
    """The field for a path, and what of the path is within it."""
    for begin, name in names.items():
        if path == begin or path.startswith((f"{begin}.", f"{begin}[")):
            return name, path.removeprefix(begin).lstrip(".")
    return path, ""
