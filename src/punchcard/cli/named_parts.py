"""Names of configured parts by which commands filter a list."""

from collections.abc import Sequence
from dataclasses import dataclass

from punchcard.cli.options import unknown_name
from punchcard.workspace.model import Workspace


@dataclass(frozen=True, kw_only=True)
class NamedPart:
    """A part of the configuration that a list is filtered by, as typed; None if it is not.

    The list of a part that was removed can still be asked for. Only if a name selects nothing must it be configured.
    """

    option: str
    name: str | None
    kind: str
    known: Sequence[str]

    def verify(self) -> None:
        """See that the name is that of a configured part.

        Raises:
            ConfigurationError: It is not.
        """
        if self.name is not None and self.name not in self.known:
            raise unknown_name(self.option, self.name, self.known, kind=self.kind)


def named_destination(workspace: Workspace, slug: str | None) -> NamedPart:
    """Return the destination of a list, as typed."""
    known = [destination.slug for destination in workspace.destinations]
    return NamedPart(option="--destination", name=slug, kind="destination", known=known)
