"""How long it takes until a new audience is live: computed for everyone, stored, queued for the sync."""

import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert

from bench.engage import NOW, fill
from punchcard.engage.fact_store import FactStore
from punchcard.store.bulk import execute_many
from punchcard.store.engage.schema import external_ids, profiles
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld

_PER_UNIT_OF_WORK = 50_000


@dataclass(frozen=True, kw_only=True)
class FirstResult:
    """What a new audience took.

    Attributes:
        seconds: From the first look at the configuration until it is live.
        step_seconds: The longest step: for so long what is new of others waits.
        size: How many members it has.
    """

    seconds: float
    step_seconds: float
    size: int


def measure(events: int, people: int, definition: str) -> FirstResult:
    """Add an audience where so many people are."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(Store(f"sqlite:///{folder / 'store.db'}")) as store:
            _add_people(store, people)
            world = EngageWorld(folder, store, NOW)
            with closing(FactStore(world.facts_path)) as facts:
                fill(facts, events, people)
            world.configure(world.audience("members", definition, destinations=("perkville",)))
            engine = world.start()
            steps = []
            worked = True
            while worked:
                begun = time.perf_counter()
                worked = engine.step()
                steps.append(time.perf_counter() - begun)
            size = engine.states.current["members"].size
            world.crash()
    return FirstResult(seconds=sum(steps), step_seconds=max(steps), size=size)


def _add_people(store: Store, people: int) -> None:
    for begin in range(1, people + 1, _PER_UNIT_OF_WORK):
        numbers = range(begin, min(begin + _PER_UNIT_OF_WORK, people + 1))
        with store.unit_of_work() as work:
            execute_many(work, insert(profiles), [_profile(number) for number in numbers])
            execute_many(work, insert(external_ids), [_email(number) for number in numbers])


def _profile(number: int) -> dict[str, object]:
    seen = {f"{which}_{what}": "m" if what == "message_id" else "web"
            for which in ("first", "last") for what in ("message_id", "source")}  # fmt: skip
    return {
        "id": number,
        "public_id": f"use_{number}",
        "created_at": NOW,
        "updated_at": NOW,
        **seen,
        "is_known": True,
        "merged_into": None,
    }


def _email(number: int) -> dict[str, object]:
    return {
        "type": "email",
        "value": f"p{number}@example.com",
        "profile_id": number,
        "created_at": NOW,
        "source": "web",
        "message_id": "m",
    }
