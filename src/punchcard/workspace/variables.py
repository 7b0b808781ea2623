"""`${ENV_NAME}` in the texts of a config file."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")


class MissingVariableError(ValueError):
    """A text refers to what cannot be filled in."""


def substitute_variables(text: str, environment: Mapping[str, str]) -> str:
    """The text with every `${NAME}` replaced by the variable's value; `$${` stands for `${` itself.

    Raises:
        MissingVariableError: a variable is not set, or `${` is not followed by a name and `}`.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None:
            raise MissingVariableError('"${" must be followed by a variable\'s name and "}"; write "$${" for the text')
        if name not in environment:
            raise MissingVariableError(f"the environment variable {name} is not set")
        return environment[name]

    return _REFERENCE.sub(value, text)


def escape_variables(text: str) -> str:
    """The text as a file must hold it so that `substitute_variables` gives it back."""
    return text.replace("${", "$${")
