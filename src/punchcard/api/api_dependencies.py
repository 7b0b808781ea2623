"""Dependencies of the API's handlers, injected by the framework as `dependencies`."""

from collections.abc import Sequence
from dataclasses import dataclass

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from punchcard.operations.dependencies import Dependencies as SharedDependencies
from punchcard.store.access.token_store import StoredToken
from punchcard.workspace.editing import Edit

REQUIRED_ROLE = "required_role"
"""Key in a handler's `opt`: the role that the call needs, if it differs from the default of the method."""


@dataclass(frozen=True, kw_only=True)
class ApiDependencies(SharedDependencies):
    """Services that a request reads and writes through.

    Attributes:
        token: Token of the request.
    """

    token: StoredToken

    @property
    def actor(self) -> str:
        """Actor of changes, for the audit log."""
        return f"token {self.token.name}"

    def edit(self, change: Edit) -> Sequence[str]:
        """Change the configuration on behalf of the token; return warnings about likely mistakes."""
        return self.edit_as(self.actor, change)


Dependencies = NamedDependency[SkipValidation[ApiDependencies]]
"""Type of the handler parameter `dependencies`."""
