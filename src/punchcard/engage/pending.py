"""Computations that wait for a full computation, and results that are saved over several steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from punchcard.computations.model import trait_keys
from punchcard.engage.computing import Change, RequestedComputation, group_by_dependency
from punchcard.engage.states import fingerprint, with_dependents


@dataclass
class PendingResult:
    """The part of a full computation's result that is not saved yet.

    Attributes:
        fingerprint: Fingerprint of the computation at the time of computing.
        total: Number of changes in the complete result.
    """

    fingerprint: str
    changes: list[Change]
    total: int

    @property
    def percent(self) -> int:
        """The percentage that is saved."""
        return 100 * (self.total - len(self.changes)) // self.total

    def take(self, count: int) -> list[Change]:
        """Remove and return up to `count` changes."""
        taken = self.changes[-count:]
        del self.changes[-count:]
        return taken

    def discard_people(self, people: set[int]) -> None:
        """Drop the changes of these people, because they have new events."""
        self.changes = [change for change in self.changes if change.profile not in people]


@dataclass
class Pending:
    """The computations, by key, that wait for a full computation. False when there are none.

    Attributes:
        results: The rest of the results that are being saved.
    """

    keys: set[str] = field(default_factory=set)
    results: dict[str, PendingResult] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.keys)

    def add(self, keys: set[str], *, among: Mapping[str, RequestedComputation]) -> None:
        """Add computations and all that depend on them; remove those that are not in `among`."""
        self.keys = (self.keys | with_dependents(keys, list(among.values()))) & among.keys()
        self.results = {key: result for key, result in self.results.items() if key in self.keys}

    def mark_done(self, key: str) -> None:
        """Remove a computation that is computed, or cannot be."""
        self.keys.discard(key)

    def in_order(self, computations: Mapping[str, RequestedComputation]) -> Iterator[RequestedComputation]:
        """Yield each computation once everything it depends on is done; its result would be incomplete before."""
        for level in group_by_dependency([computations[key] for key in self.keys]):
            for computation in level:
                if not trait_keys(computation.definition) & self.keys:
                    yield computation

    def take_result(self, computation: RequestedComputation) -> PendingResult | None:
        """Remove and return the rest of a computation's result, if its definition has not changed since."""
        result = self.results.pop(computation.key, None)
        return result if result is not None and result.fingerprint == fingerprint(computation) else None

    def discard_people(self, people: set[int]) -> None:
        """Drop the pending changes of these people, because they have new events."""
        for result in self.results.values():
            result.discard_people(people)
