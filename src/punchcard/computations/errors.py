"""The error of an invalid definition, with its position."""

from punchcard.errors import ConfigurationError

_SNIPPET = 20


class DefinitionError(ConfigurationError):
    """A definition cannot be read or evaluated.

    Args:
        problem: Description of the problem.
        text: The definition.
        position: Index of the wrong character, from 0.
    """

    code = "invalid_definition"

    def __init__(self, problem: str, *, text: str, position: int) -> None:
        self.position = position
        self.problem = problem
        rest = text[position : position + _SNIPPET]
        place = f'at character {position + 1}, "{rest}"' if rest.strip() else "at the end"
        super().__init__(f"{place}: {problem}", position=position)
