"""Processor time of a routed event, lake included, under rules of its source and with a million suppressed persons.

Each kind of rules is measured in turn with none, on the same log, in one process. `python -m bench.rules 50000 5` takes
50,000 events and five rounds; `python -m bench.rules 50000 5 emails` measures only kinds with this in their names.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.log_router import open_router
from bench.report import Figure, show
from bench.routing import workspace
from bench.size import size
from bench.workload import EVENTS_PER_BODY, NAMES, bodies
from punchcard.clock import SystemClock, to_micros
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.suppression import Suppressions
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.suppressions import SuppressionChange, change_suppressions
from punchcard.tracking_plans.model import RuleType, TrackingPlan, TrackingPlanRule
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import PropertyRename, PropertyValue, Transformation, Workspace
from punchcard.workspace.subject_vault import SubjectVault

_EVENTS = size(50_000, 8_000)
_ROUNDS = size(3, 1)
_SUPPRESSED = size(1_000_000, 1_000)
_TRANSFORMATIONS = 10
_PLAN_EVENTS = 100


@dataclass(frozen=True)
class _Kind:
    """What is measured: a configuration, and the share of the rate without it, in percent, that is the goal.

    Attributes:
        suppressed: Type of the suppressed subjects, None for no suppression.
        has_new_persons: Whether every event is of a person without earlier events.
    """

    name: str
    workspace: Workspace
    target: float
    suppressed: SubjectType | None = None
    has_new_persons: bool = False


def main(events: int = _EVENTS, rounds: int = _ROUNDS, part: str = "") -> None:
    """Measure and print."""
    collect_rarely()  # as the worker process does
    plain = {new: _Kind("nothing", workspace(()), 100, has_new_persons=new) for new in (False, True)}
    kinds = [kind for kind in _kinds() if part in kind.name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for new in {kind.has_new_persons for kind in kinds}:
            _fill(folder / f"log-{new}.db", events, has_new_persons=new)
        times: dict[str, list[float]] = {kind.name: [] for kind in kinds}
        shares: dict[str, list[float]] = {kind.name: [] for kind in kinds}
        without: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds):
            for kind in kinds:
                before = _measure(folder, plain[kind.has_new_persons], events)
                busy = _measure(folder, kind, events)
                without[kind.has_new_persons].append(before)
                times[kind.name].append(busy)
                shares[kind.name].append(100 * before / busy)
    for new, measured in without.items():
        if measured:
            print(f"  without rules{', new persons' if new else ''}: {statistics.median(measured):.2f} µs an event")
    for kind in kinds:
        print(f"  {kind.name}: {statistics.median(times[kind.name]):.2f} µs an event")
        show(Figure(name=kind.name, unit="% of the rate without", values=shares[kind.name], target=kind.target))


def _kinds() -> Iterator[_Kind]:
    for matched, condition in (
        ("few events", 'event = "Order Completed"'),
        ("a quarter", f'event = "{NAMES[0]}"'),
        ("all", 'type = "track"'),
    ):
        yield _Kind(f"ten transformations, {matched} match", _transforming(condition), 70)
    yield _Kind("a tracking plan of 100 events", _planned(), 80)
    for subject_type, subjects in ((SubjectType.USER_ID, "user ids"), (SubjectType.EMAIL, "emails")):
        for new in (False, True):
            persons = "every person is new" if new else "persons repeat"
            yield _Kind(f"a million suppressed {subjects}, {persons}", workspace(()), 98, subject_type, new)


def _transforming(condition: str) -> Workspace:
    changes: Sequence[Mapping[str, object]] = (
        {"property_renames": (PropertyRename(old_name="value", new_name="amount"),)},
        {"property_renames": (PropertyRename(old_name="amount", new_name="price"),)},
        {
            "property_value_transformations": (
                PropertyValue(property_paths=("properties.channel",), property_value="web"),
            )
        },
        {
            "property_value_transformations": (
                PropertyValue(property_paths=("context.app.name",), property_value="shop"),
            )
        },
        {"property_drops": ("coupon",)},
        {"property_drops": ("price",)},
    )
    common = {"source": "bench", "condition": condition}
    return replace(
        workspace(()),
        transformations=tuple(
            Transformation(slug=f"t{number}", name=f"T {number}", order=number, **{**common, **changes[number % 6]})  # type: ignore[arg-type]
            for number in range(_TRANSFORMATIONS)
        ),
    )


def _planned() -> Workspace:
    names = [*NAMES, "Order Completed", *(f"Event {number}" for number in range(_PLAN_EVENTS))][:_PLAN_EVENTS]
    product = {
        "type": "object",
        "properties": {
            "product_id": {"type": "string"},
            "name": {"type": "string", "maxLength": 200},
            "price": {"type": "number", "minimum": 0},
            "quantity": {"type": "integer"},
        },
        "required": ["product_id"],
    }
    properties = {
        "type": "object",
        "properties": {
            "email": {"type": "string"},
            "currency": {"enum": ["USD", "EUR"]},
            "value": {"type": "number"},
            "revenue": {"type": "number"},
            "order_id": {"type": "string"},
            "products": {"type": "array", "items": product},
        },
        "required": ["email", "value"],
    }
    schema = {"type": "object", "properties": {"properties": properties}}
    rules = tuple(TrackingPlanRule(type=RuleType.TRACK.value, key=name, json_schema=schema) for name in names)
    plan = TrackingPlan(slug="plan", name="Plan", sources=("bench",), rules=rules)
    return replace(workspace(()), tracking_plans=(plan,))


def _measure(folder: Path, kind: _Kind, events: int) -> float:
    """Return the processor time of an event in microseconds."""
    store_file = folder / f"store-{kind.suppressed or kind.name}.db"
    if not store_file.exists():
        _make_store(store_file, kind)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        shutil.copy(store_file, Path(name) / "punchcard.db")
        store = Store(f"sqlite:///{name}/punchcard.db")
        log = SqliteEventLog(folder / f"log-{kind.has_new_persons}.db")
        clock, keyring = SystemClock(), Keyring("bench")
        suppressions = Suppressions(store, SubjectVault(keyring), clock=clock)
        router, feed = open_router(Path(name), log, store, keyring, suppressions=suppressions)
        # A first event loads libraries and reads the suppressed subjects.
        router.step()
        feed.flush()
        routed = router.position
        begun = time.process_time()
        while router.step():
            feed.flush()
        busy = time.process_time() - begun
        routed = (router.position - routed) * EVENTS_PER_BODY
        feed.close()
        log.close()
        store.close()
    if not routed:
        raise SystemExit(f"The first step routes all {events:,} events, and is not measured: give it more.")
    return 1e6 * busy / routed


def _make_store(path: Path, kind: _Kind) -> None:
    clock, keyring = SystemClock(), Keyring("bench")
    store = Store(f"sqlite:///{path}")
    apply(store, kind.workspace, clock=clock, keyring=keyring, actor="bench")
    if kind.suppressed is not None:
        with store.unit_of_work() as work:
            hashes = SubjectVault(keyring).open_or_create(work)
            subject_type = kind.suppressed
            value_of: Callable[[int], str] = (
                (lambda number: f"gone{number}@example.com")
                if subject_type is SubjectType.EMAIL
                else (lambda number: f"gone-{number}")
            )
            for begin in range(0, _SUPPRESSED, 50_000):
                change_suppressions(
                    work,
                    [
                        SuppressionChange(
                            digest=hashes.digest(subject_type, value_of(number)),
                            source="",
                            subject_type=subject_type,
                            value=None,
                            is_active=True,
                            regulation_id=1,
                            checksum=hashes.masked_checksum(subject_type, value_of(number)),
                        )
                        for number in range(begin, min(begin + 50_000, _SUPPRESSED))
                    ],
                    now=clock.now(),
                )
    store.close()


def _fill(path: Path, events: int, *, has_new_persons: bool) -> None:
    log = SqliteEventLog(path)
    pending = []
    for number, body in enumerate(bodies(events // EVENTS_PER_BODY)):
        if has_new_persons:
            for name in (b'"person', b'"user-', b'"anonymous-'):
                body = body.replace(name, name + b"%d-" % number)
        pending.append(NewRecord(to_micros(SystemClock().now()), "wk_bench", "batch", "identity", body, ""))
        if len(pending) == 100:
            log.append(pending)
            pending = []
    if pending:
        log.append(pending)
    log.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if sys.argv[3:] else "")
