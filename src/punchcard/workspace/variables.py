"""Substitutes `${ENV_NAME}` in the texts of a config file."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")


class MissingVariableError(ValueError):
    """A text refers to a variable that cannot be substituted."""


def substitute_variables(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with every `${NAME}` replaced by the variable's value; `$${` stands for `${` itself.

    Raises:
        MissingVariableError: A variable is not set, or `${` is not followed by a name and `}`.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None:
            raise MissingVariableError(
                '"${" must be followed by a variable\'s name and "}". Write "$${" for a literal "${".'
            )
        if name not in environment:
            raise MissingVariableError(f"The environment variable {name} is not set.")
        return environment[name]

    return _REFERENCE.sub(value, text)


def escape_variables(text: str) -> str:
    """Return the text escaped so that `substitute_variables` returns it unchanged."""
    return text.replace("${", "$${")
