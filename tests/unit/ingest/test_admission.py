"""However many keys strangers make up, the partner is asked about few of them, and good callers are not held up."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from punchcard.ingest.admission import Admission, Refusal, TooManyKeysError
from punchcard.testing.clock import ManualClock

NO = Refusal(status=401, message="no")
DOWN = Refusal(status=503, message="down")


class Partner:
    """Counts what it is asked."""

    def __init__(self, result: Refusal | None) -> None:
        self.result = result
        self.queries = 0
        self.at_once = 0
        self.at_once_max = 0
        self.gate: asyncio.Event | None = None

    def __call__(self) -> Awaitable[Refusal | None]:
        return self._ask()

    async def _ask(self) -> Refusal | None:
        self.queries += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await (self.gate.wait() if self.gate else asyncio.sleep(0))
        self.at_once -= 1
        return self.result


def run(trace: Callable[[Admission, ManualClock], Awaitable[None]]) -> None:
    async def refusal() -> None:
        clock = ManualClock()
        await trace(Admission(clock), clock)

    asyncio.run(refusal())


async def count_limited(admission: Admission, partner: Partner, addresses: list[str]) -> int:
    limited: list[float] = []
    for number, address in enumerate(addresses):
        try:
            await admission.check(("account", f"random-{address}-{number}"), address=address, verify=partner)
        except TooManyKeysError as error:
            limited.append(error.retry_after_seconds)
    assert all(seconds > 0 for seconds in limited)
    return len(limited)


def test_random_keys_of_one_address_are_verified_only_so_often() -> None:
    async def trace(admission: Admission, clock: ManualClock) -> None:
        partner = Partner(NO)
        assert await count_limited(admission, partner, ["192.0.2.1"] * 1_000) == 980
        assert partner.queries == 20
        clock.advance(60)
        assert await count_limited(admission, partner, ["192.0.2.1"] * 100) == 90
        assert await count_limited(admission, partner, ["192.0.2.2"] * 20) == 0

    run(trace)


@pytest.mark.parametrize(
    ("addresses", "are_one"),
    [
        (["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:9::"], True),
        (["::ffff:192.0.2.1", "192.0.2.1"], True),
        (["fe80::1%eth0", "fe80::2"], True),
        (["2001:db8::1", "2001:db8:0:1::1"], False),
        (["192.0.2.1", "192.0.2.2"], False),
        (["", "no address"], False),
    ],
)
def test_addresses_of_one_network_are_one(addresses: list[str], are_one: bool) -> None:
    async def trace(admission: Admission, clock: ManualClock) -> None:
        sent = (addresses * 20)[: 20 * len(addresses)]
        limited = await count_limited(admission, Partner(NO), sent)
        assert limited == (len(sent) - 20 if are_one else 0)

    run(trace)


@pytest.mark.parametrize(("result", "seconds"), [(NO, 60), (Refusal(status=400, message="x"), 60), (None, 600)])
def test_what_the_partner_says_is_remembered(result: Refusal | None, seconds: float) -> None:
    async def trace(admission: Admission, clock: ManualClock) -> None:
        partner = Partner(result)
        for _ in range(50):
            assert await admission.check(("a", "k"), address="x", verify=partner) == result
        assert admission.is_accepted(("a", "k")) is (result is None)
        assert partner.queries == 1
        assert await admission.check(("another account", "k"), address="x", verify=partner) == result
        assert partner.queries == 2
        clock.advance(seconds + 1)
        assert not admission.is_accepted(("a", "k"))
        await admission.check(("a", "k"), address="x", verify=partner)
        assert partner.queries == 3

    run(trace)


def test_a_partner_that_is_unavailable_is_queried_again() -> None:
    async def trace(admission: Admission, clock: ManualClock) -> None:
        partner = Partner(DOWN)
        assert await admission.check(("a", "k"), address="x", verify=partner) == DOWN
        partner.result = None
        assert await admission.check(("a", "k"), address="x", verify=partner) is None

    run(trace)


def test_calls_with_the_same_key_share_one_question_and_few_are_sent_at_once() -> None:
    async def trace(admission: Admission, clock: ManualClock) -> None:
        partner = Partner(None)
        partner.gate = asyncio.Event()
        calls = [asyncio.create_task(admission.check(("a", "k"), address="x", verify=partner)) for _ in range(30)]
        others = [
            asyncio.create_task(admission.check(("a", f"k{n}"), address=f"192.0.2.{n}", verify=partner))
            for n in range(200)
        ]
        await asyncio.sleep(0)
        calls[0].cancel()  # who goes away does not take the answer from the others
        await asyncio.sleep(0)
        partner.gate.set()
        results = await asyncio.gather(*calls[1:], *others, return_exceptions=True)
        assert results[:29] == [None] * 29
        limited = [result for result in results if isinstance(result, TooManyKeysError)]
        assert len(limited) == 101
        assert partner.queries == 100
        assert partner.at_once_max == 8

    run(trace)


def test_memory_is_bounded_whatever_strangers_send() -> None:
    async def trace(admission: Admission, clock: ManualClock) -> None:
        partner = Partner(NO)
        for number in range(12_000):
            await admission.check(("a", str(number)), address=f"10.{number // 250}.{number % 250}.1", verify=partner)
        assert len(admission._results) <= 10_000
        assert len(admission._allowances) <= 10_000

    run(trace)
