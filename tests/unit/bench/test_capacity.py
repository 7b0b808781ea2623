"""The simulation of capacity loses no event, and its queues are those of arithmetic."""

import pytest

from bench.capacity import OUTAGES, Machines, make_stages, read_figures, simulate, simulate_all

MACHINES = Machines()
AVERAGE = 1_000.0


def test_what_arrives_is_done_or_waits() -> None:
    stages = make_stages(read_figures(), MACHINES)
    simulate(stages, rate_at=lambda _: AVERAGE, is_up=lambda *_: True, disturbed_until=3_600, seconds=3_600)
    assert stages["ingest"].done + stages["ingest"].queue == pytest.approx(3_600 * AVERAGE)
    assert stages["routing"].done + stages["routing"].queue == pytest.approx(stages["ingest"].done)
    awards = stages["delivery"].done + stages["delivery"].queue
    assert awards == pytest.approx(stages["routing"].done * MACHINES.award_share)


def test_a_queue_grows_by_what_arrives_and_shrinks_by_what_is_spare() -> None:
    stages = make_stages(read_figures(), MACHINES)
    outcome = simulate(
        stages,
        rate_at=lambda _: AVERAGE,
        is_up=lambda name, second: name != "routing" or second >= 600,
        disturbed_until=600,
    )
    assert stages["routing"].queue_max == pytest.approx(600 * AVERAGE)
    # The slower of both decides, until less than one second's work is left.
    spare = min(stages["routing"].capacity, stages["engage"].capacity) - AVERAGE
    assert outcome.recovered_seconds == pytest.approx(600 * AVERAGE / spare - 1, abs=2)


def test_every_case_of_half_a_billion_events_a_day_recovers() -> None:
    outcomes = dict(simulate_all(read_figures(), MACHINES, events_per_day=500e6))
    assert len(outcomes) == 2 + len(OUTAGES)
    assert {name for name, outcome in outcomes.items() if outcome.recovered_seconds is None} == set()
    assert outcomes["average"].recovered_seconds == 0


def test_a_load_beyond_the_capacity_never_recovers() -> None:
    outcomes = dict(simulate_all(read_figures(), MACHINES, events_per_day=5e9))
    assert outcomes["average"].recovered_seconds is None
