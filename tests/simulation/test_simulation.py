"""The promise of it all: an acknowledged event becomes at most one effect always, and exactly one once idle.

Each seed is one history of some hundred things that happen by chance: clients that send twice, crashes between any two
writes, a full disk, requests and answers that are lost or come late, credentials that end, operators who help. The
partner's ledger, which no crash touches, is the truth that the oracle compares with the log. A broken promise names its
seed; `simulate(folder, seed=N, steps=300)` repeats that run.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Connection

from punchcard.delivery import stages, waking
from punchcard.delivery.clock_watch import ClockWatch
from punchcard.delivery.outcomes import PartnerResult
from punchcard.delivery.outcomes import classify_outcome as real_classify_outcome
from punchcard.destinations.perkville import refunds
from punchcard.errors import InvariantError
from punchcard.routing import router
from punchcard.routing.router import Router
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import Attempt, AttemptOutcome, AttemptResult, EffectState
from punchcard.store.routing.positions import ROUTING, advance
from punchcard.testing.examples import examples
from punchcard.testing.oracle import BrokenPromiseError
from punchcard.testing.simulation import simulate
from punchcard.testing.world import World

STEPS = 300


@pytest.mark.parametrize("seed", range(examples(12, part=6)))
def test_every_event_has_at_most_one_effect_always_and_exactly_one_when_idle(tmp_path: Path, seed: int) -> None:
    world = simulate(tmp_path, seed=seed, steps=STEPS)
    assert world.partner.book


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_thousands_of_traces_end_well(tmp_path: Path) -> None:
    until = time.monotonic() + 1_800
    seed = 1_000
    while time.monotonic() < until:
        simulate(tmp_path / str(seed), seed=seed, steps=3 * STEPS)
        seed += 1


def resend_blindly(patch: pytest.MonkeyPatch) -> None:
    """An unknown outcome is sent again without reading back."""

    def blind(*arguments: object, **options: object) -> AttemptResult:
        result = real_classify_outcome(*arguments, **options)  # type: ignore[arg-type]
        return replace(result, state=EffectState.RETRYING) if result.outcome is AttemptOutcome.UNKNOWN else result

    patch.setattr(stages, "classify_outcome", blind)


def read_back_too_early(patch: pytest.MonkeyPatch) -> None:
    """What a crash cut off is read back at once, while it may still land."""
    real = outbox.release_orphans

    def early(work: Connection, destination: str, *, now: datetime, due_at: datetime) -> int:
        return real(work, destination, now=now, due_at=now)

    patch.setattr(outbox, "release_orphans", early)
    trust_the_clock(patch)


def trust_the_clock(patch: pytest.MonkeyPatch) -> None:
    """Due times stand as they are, whatever happened to the clock by which they were written down."""
    patch.setattr(ClockWatch, "correct", lambda *_arguments, **_options: 0)


def commit_the_position_first(patch: pytest.MonkeyPatch) -> None:
    """The log position is committed in a unit of work of its own, before the effects."""
    real_step = Router.step

    def step(self: Router) -> int:
        records = self._log.read(self._position, records_max=4_000, bytes_max=self._batch_bytes)
        if records:
            with self._store.unit_of_work() as work:
                advance(work, ROUTING, expected=self._position, to=records[-1].position)
        return real_step(self)

    patch.setattr(Router, "step", step)
    patch.setattr(router, "advance", lambda *_arguments, **_options: True)


def forget_answers(patch: pytest.MonkeyPatch) -> None:
    """An unknown outcome counts as delivered."""

    def hopeful(attempt: Attempt, partner_result: PartnerResult, **options: object) -> AttemptResult:
        result = real_classify_outcome(attempt, partner_result, **options)  # type: ignore[arg-type]
        return replace(result, state=EffectState.DELIVERED) if result.outcome is AttemptOutcome.UNKNOWN else result

    patch.setattr(stages, "classify_outcome", hopeful)


def believe_every_source(patch: pytest.MonkeyPatch) -> None:
    """A refund that two sources track is taken for each of them."""
    patch.setattr(refunds, "_original_of", lambda *_arguments: None)


def forget_earlier_refunds(patch: pytest.MonkeyPatch) -> None:
    """A refund looks at what its order earned, and not at what was taken back before."""
    patch.setattr(refunds, "_removed", lambda *_arguments: Decimal(0))


def park_at_once(patch: pytest.MonkeyPatch) -> None:
    """A refund that comes before its order does not wait, and does not follow it."""
    patch.setattr(refunds, "_deadline", lambda refund, _options: refund.created_at)
    patch.setattr(waking, "wake_dependents", lambda *_arguments, **_options: 0)
    patch.setattr(World, "retry", lambda _self: 0)


# Each with a seed from which on it soon shows: a request must be cut off while it may still land, say.
@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("sabotage", "first_seed"),
    [
        (resend_blindly, 7),
        (read_back_too_early, 58),
        (commit_the_position_first, 1),
        (forget_answers, 7),
        (trust_the_clock, 15),
        (believe_every_source, 0),
        (forget_earlier_refunds, 0),
        (park_at_once, 0),
    ],
)
def test_the_simulation_notices_what_would_double_or_lose_an_award(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sabotage: Callable[[pytest.MonkeyPatch], None], first_seed: int
) -> None:
    sabotage(monkeypatch)

    def tell_traces() -> None:
        for seed in range(first_seed, first_seed + 60):
            simulate(tmp_path / str(seed), seed=seed, steps=STEPS)

    # The oracle reports it, or the store's own last line of defence does.
    with pytest.raises((BrokenPromiseError, InvariantError)) as caught:
        tell_traces()
    assert "in the run of seed" in caught.value.__notes__[0]
