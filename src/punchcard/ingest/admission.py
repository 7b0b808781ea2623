"""Check which API keys the partner accepts for which accounts, with a cache and limits per caller.

Each check is a request to the partner, so a caller that invents keys must not decide how many are made.
"""

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from punchcard.clock import Clock

AccountKey = tuple[str, str]
"""Slug of an account and digest of an API key."""

# A key that the partner has accepted is not checked again for this long.
_ACCEPTED_SECONDS = 600.0
# The same for a refused key. A key that was just created may be refused once.
_REFUSED_SECONDS = 60.0
_CACHED_MAX = 10_000
# Checks per address: the number allowed at once, and the seconds until one more is allowed.
_BURST = 20
_SECONDS_PER_CHECK = 6.0
_ADDRESSES_MAX = 10_000
_CONCURRENT_MAX = 8
_WAITING_MAX = 100
_UNAVAILABLE = 503
# A household or a server farm owns a whole network of IPv6 addresses.
_IPV6_NETWORK_BITS = 64


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The partner does not accept a key, or could not check it.

    Attributes:
        status: Status of the response: 400, 401 or 403; 503 if the check failed, which is not cached.
    """

    status: int
    message: str


class TooManyKeysError(Exception):
    """Too many unknown API keys were sent recently.

    Args:
        retry_after_seconds: Seconds until the caller may send another key.
    """

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("Too many unknown API keys were sent recently, from this address or in total. Retry later.")
        self.retry_after_seconds = retry_after_seconds


class Admission:
    """Caches which keys the partner accepts, and limits the checks. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._results: OrderedDict[AccountKey, tuple[Refusal | None, float]] = OrderedDict()
        self._checks: dict[AccountKey, asyncio.Task[Refusal | None]] = {}
        self._allowances: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # by address: checks left, and since when
        self._slots = asyncio.Semaphore(_CONCURRENT_MAX)

    def is_accepted(self, key: AccountKey) -> bool:
        """Return whether the partner has accepted the key recently."""
        cached = self._cached(key)
        return cached is not None and cached[0] is None

    async def check(
        self, key: AccountKey, *, address: str, verify: Callable[[], Awaitable[Refusal | None]]
    ) -> Refusal | None:
        """Return whether the partner accepts a key, from the cache or by a check that calls with the same key share.

        Args:
            address: Address of the caller; "" if it is unknown.
            verify: Sends the check to the partner.

        Returns:
            None if the partner accepts the key.

        Raises:
            TooManyKeysError: The caller has used up its checks, or too many callers wait.
        """
        if (cached := self._cached(key)) is not None:
            return cached[0]
        task = self._checks.get(key)
        if task is None:
            if len(self._checks) >= _WAITING_MAX:
                raise TooManyKeysError(_SECONDS_PER_CHECK)
            self._take_allowance(_network(address))
            task = asyncio.create_task(self._verify(key, verify))
            self._checks[key] = task
            task.add_done_callback(lambda _: self._checks.pop(key, None))
        # A caller that disconnects does not cancel the check for the others.
        return await asyncio.shield(task)

    async def _verify(self, key: AccountKey, verify: Callable[[], Awaitable[Refusal | None]]) -> Refusal | None:
        async with self._slots:
            refusal = await verify()
        if refusal is not None and refusal.status == _UNAVAILABLE:
            return refusal
        until = self._clock.monotonic() + (_ACCEPTED_SECONDS if refusal is None else _REFUSED_SECONDS)
        self._results[key] = (refusal, until)
        self._results.move_to_end(key)
        if len(self._results) > _CACHED_MAX:
            self._results.popitem(last=False)
        return refusal

    def _cached(self, key: AccountKey) -> tuple[Refusal | None, float] | None:
        cached = self._results.get(key)
        return cached if cached is not None and self._clock.monotonic() < cached[1] else None

    def _take_allowance(self, network: str) -> None:
        now = self._clock.monotonic()
        left, since = self._allowances.get(network, (float(_BURST), now))
        left = min(float(_BURST), left + (now - since) / _SECONDS_PER_CHECK)
        if left < 1:
            raise TooManyKeysError((1 - left) * _SECONDS_PER_CHECK)
        self._allowances[network] = (left - 1, now)
        self._allowances.move_to_end(network)
        if len(self._allowances) > _ADDRESSES_MAX:
            self._allowances.popitem(last=False)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_NETWORK_BITS), strict=False))
