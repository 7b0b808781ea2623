"""What is still to be computed for everybody, and answers so large that they are written down over several steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from punchcard.computations.model import trait_keys
from punchcard.engage.computing import Change, RequestedComputation, in_levels
from punchcard.engage.states import fingerprint, with_dependents


@dataclass
class PendingResult:
    """What a full computation has given and is not written down yet.

    Attributes:
        fingerprint: Of the computation as it was asked.
        total: How many changes there were at first.
    """

    fingerprint: str
    changes: list[Change]
    total: int

    @property
    def percent(self) -> int:
        """How much of it is written down."""
        return 100 * (self.total - len(self.changes)) // self.total

    def take(self, count: int) -> list[Change]:
        """Up to so many changes, which are in it no more."""
        taken = self.changes[-count:]
        del self.changes[-count:]
        return taken

    def leave_out(self, people: set[int]) -> None:
        """Forget what was found of these: there is news of them."""
        self.changes = [change for change in self.changes if change.profile not in people]


@dataclass
class Pending:
    """The computations that are to be computed for everybody, by key. False when there are none.

    Attributes:
        results: Of those that are being written down, what is left of it.
    """

    keys: set[str] = field(default_factory=set)
    results: dict[str, PendingResult] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.keys)

    def add(self, keys: set[str], *, among: Mapping[str, RequestedComputation]) -> None:
        """Compute these too, with all that ask for them; and none any more that is not `among`."""
        self.keys = (self.keys | with_dependents(keys, list(among.values()))) & among.keys()
        self.results = {key: result for key, result in self.results.items() if key in self.keys}

    def done(self, key: str) -> None:
        """This one is computed, or cannot be."""
        self.keys.discard(key)

    def in_order(self, requested: Mapping[str, RequestedComputation]) -> Iterator[RequestedComputation]:
        """Each after those that it asks for; not before these are done, for its answer would be half of one."""
        for level in in_levels([requested[key] for key in self.keys]):
            for computation in level:
                if not trait_keys(computation.definition) & self.keys:
                    yield computation

    def take_result(self, computation: RequestedComputation) -> PendingResult | None:
        """What is left to be written of this one's answer, if it was asked as it is now."""
        result = self.results.pop(computation.key, None)
        return result if result is not None and result.fingerprint == fingerprint(computation) else None

    def leave_out(self, people: set[int]) -> None:
        """There is news of these people: what was found of them before is not written down."""
        for result in self.results.values():
            result.leave_out(people)
