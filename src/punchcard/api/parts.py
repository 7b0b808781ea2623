"""What the API's handlers work with, given to each by the framework under the name `parts`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from punchcard.clock import Clock
from punchcard.log.port import NewRecord
from punchcard.store.engine import Store
from punchcard.store.tokens import StoredToken
from punchcard.traces.story import Stories
from punchcard.workspace.model import Workspace
from punchcard.workspace.snapshot import Snapshot

NEEDS = "needs"
"""Under this name a handler's `opt` says which role its call needs, where the method does not say it."""


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """What the API reads and writes through.

    Attributes:
        current: The configuration as it stands in the store, compiled.
        workspace: The same to look at and to edit, secrets in plain text.
        edit_as: Changes it by a function of it, in somebody's name; returns what whoever saves it should know.
        token: Whose request it is; None outside of one.
        append: Makes one request durable in the log, as the Tracking API does.
    """

    store: Store
    stories: Stories
    clock: Clock
    current: Callable[[], Snapshot]
    workspace: Callable[[], Workspace]
    edit_as: Callable[[Callable[[Workspace], Workspace], str], Sequence[str]]
    append: Callable[[NewRecord], Awaitable[int]]
    token: StoredToken | None = None

    @property
    def actor(self) -> str:
        """Who asks, for the audit log."""
        return f"token {self.token.name}" if self.token else "nobody"

    def edit(self, change: Callable[[Workspace], Workspace]) -> Sequence[str]:
        """Change the configuration in the name of whoever asks; returns what whoever saves it should know."""
        return self.edit_as(change, self.actor)


Parts = NamedDependency[SkipValidation[ApiParts]]
"""The type of a handler's parameter `parts`."""
