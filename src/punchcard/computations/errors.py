"""What is wrong with a definition, and where."""

from punchcard.errors import ConfigurationError

_SNIPPET = 20


class DefinitionError(ConfigurationError):
    """A definition cannot be read, or cannot be meant.

    Args:
        problem: What is wrong, for a person.
        text: The definition.
        position: The character that is wrong, from 0.
    """

    code = "invalid_definition"

    def __init__(self, problem: str, *, text: str, position: int) -> None:
        self.position = position
        self.problem = problem
        rest = text[position : position + _SNIPPET]
        place = f'at character {position + 1}, "{rest}"' if rest.strip() else "at the end"
        super().__init__(f"{place}: {problem}", position=position)
