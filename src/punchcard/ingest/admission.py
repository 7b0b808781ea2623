"""Which API keys the partner accepts for which accounts, asked seldom: not for every key that a stranger makes up.

Each question goes over the network to the partner, so who may call may not decide how many are asked.
"""

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from punchcard.clock import Clock

AccountKey = tuple[str, str]
"""An account's slug and the digest of an API key."""

# A key that the partner has accepted is not asked about for this long.
_ACCEPTED_SECONDS = 600.0
# A key that it has refused. A key that was made a moment ago may be refused once.
_REFUSED_SECONDS = 60.0
_REMEMBERED_MAX = 10_000
# Questions per address: so many at once, then one in so many seconds.
_BURST = 20
_SECONDS_PER_QUESTION = 6.0
_ADDRESSES_MAX = 10_000
_AT_ONCE_MAX = 8
_WAITING_MAX = 100
_UNAVAILABLE = 503
# A household or a server farm has a whole network of IPv6 addresses.
_IPV6_NETWORK_BITS = 64


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The partner does not accept a key, or cannot be asked.

    Attributes:
        status: What the caller is answered: 400, 401 or 403, and 503 if nobody knows; that is not remembered.
    """

    status: int
    message: str


class TooManyKeysError(Exception):
    """Too many unknown API keys have come of late.

    Args:
        retry_after_seconds: When it may bring another one.
    """

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("too many unknown API keys came of late, from this address or in all")
        self.retry_after_seconds = retry_after_seconds


class Admission:
    """Remembers what the partner has said of keys, and limits how often it is asked. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._results: OrderedDict[AccountKey, tuple[Refusal | None, float]] = OrderedDict()
        self._asking: dict[AccountKey, asyncio.Task[Refusal | None]] = {}
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by address: questions left, and when
        self._room = asyncio.Semaphore(_AT_ONCE_MAX)

    def is_accepted(self, key: AccountKey) -> bool:
        """True if the partner has accepted the key of late."""
        found = self._remembered(key)
        return found is not None and found[0] is None

    async def ask(
        self, key: AccountKey, *, address: str, question: Callable[[], Awaitable[Refusal | None]]
    ) -> Refusal | None:
        """What the partner says of a key: remembered, or asked now. Calls with the same key share one question.

        Args:
            address: Of the caller; "" if it is not known.
            question: Asks the partner.

        Returns:
            None if it accepts the key.

        Raises:
            TooManyKeysError: the caller has used up its questions, or too many callers ask at once.
        """
        if (found := self._remembered(key)) is not None:
            return found[0]
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= _WAITING_MAX:
                raise TooManyKeysError(_SECONDS_PER_QUESTION)
            self._take(_network(address))
            task = asyncio.create_task(self._query(key, question))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # A caller that goes away does not take the answer from the others.
        return await asyncio.shield(task)

    async def _query(self, key: AccountKey, question: Callable[[], Awaitable[Refusal | None]]) -> Refusal | None:
        async with self._room:
            refusal = await question()
        if refusal is not None and refusal.status == _UNAVAILABLE:
            return refusal
        until = self._clock.monotonic() + (_ACCEPTED_SECONDS if refusal is None else _REFUSED_SECONDS)
        self._results[key] = (refusal, until)
        self._results.move_to_end(key)
        if len(self._results) > _REMEMBERED_MAX:
            self._results.popitem(last=False)
        return refusal

    def _remembered(self, key: AccountKey) -> tuple[Refusal | None, float] | None:
        found = self._results.get(key)
        return found if found is not None and self._clock.monotonic() < found[1] else None

    def _take(self, network: str) -> None:
        now = self._clock.monotonic()
        left, since = self._allowances.get(network, (float(_BURST), now))
        left = min(float(_BURST), left + (now - since) / _SECONDS_PER_QUESTION)
        if left < 1:
            raise TooManyKeysError((1 - left) * _SECONDS_PER_QUESTION)
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
