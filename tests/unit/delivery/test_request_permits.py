"""Permits are granted only from the part of the rate limit that deliveries do not use."""

import asyncio

from punchcard.delivery.limit import TokenBucket
from punchcard.delivery.request_permits import OwnPermits, SparePermits
from punchcard.testing.clock import ManualClock


async def _settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_permit_is_granted_only_of_what_deliveries_were_offered_and_left() -> None:
    async def run() -> list[tuple[int, int]]:
        clock = ManualClock()
        bucket, permits = TokenBucket(2, clock), SparePermits()
        waiting = [asyncio.create_task(permits.acquire()) for _ in range(3)]
        await _settled()
        seen = []
        # A token has come since deliveries were offered none: it is theirs first.
        for at_most, seconds in ((0, 0.0), (1, 0.0), (1, 0.1), (1, 1.0), (5, 1.0)):
            clock.advance(seconds)
            permits.grant(bucket, at_most=at_most)
            await _settled()
            seen.append((sum(task.done() for task in waiting), bucket.available()))
        return seen

    assert asyncio.run(run()) == [(0, 1), (1, 0), (1, 0), (2, 0), (3, 0)]


def test_a_cancelled_wait_uses_no_permit() -> None:
    async def run() -> tuple[bool, int]:
        bucket, permits = TokenBucket(2, ManualClock()), SparePermits()
        given_up = asyncio.create_task(permits.acquire())
        await _settled()
        given_up.cancel()
        await _settled()
        permits.grant(bucket, at_most=1)
        return permits.is_waiting(), bucket.available()

    assert asyncio.run(run()) == (False, 1)


def test_a_partner_that_asks_to_slow_down_is_left_alone_by_deliveries_too() -> None:
    clock = ManualClock()
    bucket, permits = TokenBucket(2, clock), SparePermits()
    permits.slow_down(30)
    permits.grant(bucket, at_most=0)
    clock.advance(29)
    assert bucket.available() == 0
    clock.advance(2)
    assert bucket.available() == 1


def test_a_new_wait_wakes_the_delivery_loop() -> None:
    async def run() -> int:
        permits, woken = SparePermits(), []
        permits.on_request(lambda: woken.append(1))
        task = asyncio.create_task(permits.acquire())
        await _settled()
        task.cancel()
        return len(woken)

    assert asyncio.run(run()) == 1


def test_without_deliveries_the_whole_limit_is_free() -> None:
    async def run() -> None:
        permits = OwnPermits(0, ManualClock())
        for _ in range(100):
            await permits.acquire()

    asyncio.run(run())
