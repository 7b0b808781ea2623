"""How many customers a changed audience or computed trait updates at each destination, in sentences."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from punchcard.engage.reach import Group, Reach
from punchcard.store.engage.synced import count_members_at
from punchcard.workspace.model import Computation


def describe_save(
    reach: Reach, *, before: Computation | None, after: Computation, title: Callable[[str], str]
) -> Sequence[str]:
    """Return what saving a computation does at each destination that it is or was synced to.

    Args:
        reach: Of the changed definition.
        before: The stored computation, None for a new one.
        title: Returns the display name of a destination.
    """
    stored = frozenset(before.destinations) if before is not None and before.enabled else frozenset()
    synced = frozenset(after.destinations) if after.enabled else frozenset()
    sentences = []
    for slug in sorted(stored | synced):
        if slug in synced and not after.include_history:
            sentences.append(f"Customers are updated at {title(slug)} as new events arrive: past ones do not count.")
        elif slug in synced:
            sentences.append(_sentence(reach.changes if slug in stored else reach.matches, title(slug)))
        elif before is not None and _clears(before):
            sentences.append(f"{_sentence(reach.current, title(slug))} They are members no longer.")
        else:
            sentences.append(f"{title(slug)} keeps the last values: nothing is updated there any more.")
    return sentences


def describe_removal(work: Connection, computation: Computation, *, title: Callable[[str], str]) -> Sequence[str]:
    """Return what deleting a computation does at each destination that it is synced to."""
    if not computation.enabled:
        return []
    if not _clears(computation):
        return [f"{title(slug)} keeps the last values." for slug in computation.destinations]
    counts = {slug: count_members_at(work, destination=slug, key=computation.key) for slug in computation.destinations}
    return [_sentence(Group(people=count, with_email=count), title(slug)) for slug, count in counts.items()]


def _clears(computation: Computation) -> bool:
    """Return whether members are set to false when the audience is not synced any more."""
    return computation.kind == "audience" and computation.when_removed == "false"


def _sentence(group: Group, title: str) -> str:
    if not group.with_email:
        return f"No customer is updated at {title}."
    customers = "1 customer" if group.with_email == 1 else f"{group.with_email:,} customers"
    return f"This will update {'about ' if group.is_estimated else ''}{customers} at {title}."
