"""What the API's handlers work with, given to each by the framework under the name `parts`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from punchcard.clock import Clock
from punchcard.log.port import NewRecord
from punchcard.store.engine import Store
from punchcard.traces.story import Stories
from punchcard.workspace.model import Workspace
from punchcard.workspace.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """What the API reads and writes through.

    Attributes:
        current: The configuration as it stands in the store, compiled.
        workspace: The same to look at and to edit, secrets in plain text.
        edit: Changes it by a function of it; returns what whoever saves it should know.
        append: Makes one request durable in the log, as the Tracking API does.
    """

    store: Store
    stories: Stories
    clock: Clock
    current: Callable[[], Snapshot]
    workspace: Callable[[], Workspace]
    edit: Callable[[Callable[[Workspace], Workspace]], Sequence[str]]
    append: Callable[[NewRecord], Awaitable[int]]


Parts = NamedDependency[SkipValidation[ApiParts]]
"""The type of a handler's parameter `parts`."""
