"""What the API's handlers work with, given to each by the framework under the name `dependencies`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from punchcard.operations.dependencies import Dependencies as SharedDependencies
from punchcard.store.token_store import StoredToken
from punchcard.workspace.model import Workspace

REQUIRED_ROLE = "required_role"
"""Under this name a handler's `opt` says which role its call needs, where the method does not say it."""


@dataclass(frozen=True, kw_only=True)
class ApiDependencies(SharedDependencies):
    """What the API reads and writes through, for one request.

    Attributes:
        token: Whose request it is.
    """

    token: StoredToken

    @property
    def actor(self) -> str:
        """Who asks, for the audit log."""
        return f"token {self.token.name}"

    def edit(self, change: Callable[[Workspace], Workspace]) -> Sequence[str]:
        """Change the configuration in the name of whoever asks; returns what whoever saves it should know."""
        return self.edit_as(change, self.actor)


Dependencies = NamedDependency[SkipValidation[ApiDependencies]]
"""The type of a handler's parameter `dependencies`."""
