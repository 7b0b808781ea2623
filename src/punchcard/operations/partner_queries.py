"""Queries to a partner on behalf of an operator, with settings that need not be saved yet."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from punchcard.clock import Clock
from punchcard.destinations.definition import Capability
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import (
    BalancesClient,
    ChoicesClient,
    CustomerBalance,
    Finding,
    MappingChoice,
    Partner,
    PartnerClient,
)
from punchcard.errors import DeliveryError, InvariantError
from punchcard.workspace.snapshot import RoutedDestination

_CHOICES_CACHED_SECONDS = 600.0
_CHOICES_RETRIED_SECONDS = 30.0


@asynccontextmanager
async def open_client(
    partner: Partner, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY
) -> AsyncIterator[PartnerClient]:
    """Open a client for these settings; it is closed at the end of the block."""
    client = partner.client(settings, network=network)
    try:
        yield client
    finally:
        await client.close()


async def check_connection(
    partner: Partner, settings: object, *, subject: str, network: NetworkPolicy = PUBLIC_ONLY
) -> list[Finding]:
    """Check the settings at the partner: token, account, and everything that they refer to.

    Args:
        subject: Subject of the finding if the partner cannot be reached.
        network: Addresses that the client may connect to.
    """
    async with open_client(partner, settings, network=network) as client:
        try:
            return list(await client.check())
        except DeliveryError as error:
            return [Finding(ok=False, subject=subject, message=error.message)]


async def list_mapping_choices(destination: RoutedDestination) -> tuple[Sequence[MappingChoice], str | None]:
    """Return the values that event names can be mapped to, and why they could not be read (None if they could)."""
    if destination.settings is None:
        return (), destination.invalid
    if Capability.VALUE_CHOICES not in destination.partner.definition.capabilities:
        return (), None
    async with open_client(destination.partner, destination.settings, network=destination.network) as client:
        if not isinstance(client, ChoicesClient):
            raise InvariantError(f"{destination.name} declares value choices, and its client does not list them")
        try:
            return await client.mapping_choices(), None
        except DeliveryError as error:
            return (), error.message


class MappingChoiceCache:
    """Caches the mapping choices of partners for ten minutes, so that pages need not query them each time.

    Safe to use from several threads.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cached: dict[tuple[str, str], tuple[float, Sequence[MappingChoice]]] = {}
        self._refreshing: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def read(
        self, destination: RoutedDestination, *, bypass_cache: bool = False
    ) -> tuple[Sequence[MappingChoice], str | None]:
        """Return the mapping choices as `list_mapping_choices`, from the cache if possible.

        Args:
            bypass_cache: True to query the partner even if the choices are cached.
        """
        key = (destination.slug, destination.fingerprint)
        until, mapping_choices = self._cached.get(key, (0.0, ()))
        if not bypass_cache and self._clock.monotonic() < until:
            return mapping_choices, None
        mapping_choices, problem = await list_mapping_choices(destination)
        if problem is None:
            self._cached[key] = (self._clock.monotonic() + _CHOICES_CACHED_SECONDS, mapping_choices)
        return mapping_choices, problem

    def refresh_in_background(self, destination: RoutedDestination) -> bool:
        """Start to read the choices unless they are cached or being read. Needs a running event loop.

        Returns:
            True if reading was started and no earlier choices are there to show meanwhile.
        """
        key = (destination.slug, destination.fingerprint)
        if key in self._refreshing or self._clock.monotonic() < self._cached.get(key, (0.0, ()))[0]:
            return False
        # The task ends late after a failure, so that a failing partner is not queried with every page.
        self._refreshing[key] = asyncio.create_task(self._refresh(destination))
        return key not in self._cached

    async def load(self, destinations: Iterable[RoutedDestination], *, wait_seconds: float) -> None:
        """Read the titles of choices that are missing or old in the background, so that pages show them.

        Args:
            wait_seconds: How long to wait for choices that were never read. Only the page that starts to read them
                waits: while the partner is slow or down, others show ids.
        """
        missing = [destination for destination in destinations if self.refresh_in_background(destination)]
        tasks = [self._refreshing[destination.slug, destination.fingerprint] for destination in missing]
        if tasks:
            await asyncio.wait(tasks, timeout=wait_seconds)

    async def _refresh(self, destination: RoutedDestination) -> None:
        _, problem = await self.read(destination)
        if problem is not None:
            await asyncio.sleep(_CHOICES_RETRIED_SECONDS)
        del self._refreshing[destination.slug, destination.fingerprint]

    def choice(self, slug: str, value: str) -> MappingChoice | None:
        """Return a choice of a destination as last read, None if it is not cached."""
        for (known, _), (_, mapping_choices) in reversed(list(self._cached.items())):
            if known == slug:
                return next((choice for choice in mapping_choices if choice.value == value), None)
        return None

    def points_per_unit(self, slug: str, value: str) -> Decimal | None:
        """Return the points per unit of a choice as last read, None if it is not cached or the partner gave none."""
        choice = self.choice(slug, value)
        return None if choice is None else choice.points


async def find_customer(destination: RoutedDestination, email: str) -> tuple[CustomerBalance | None, str | None]:
    """Return the customer's balance (None if unknown), and why it could not be read (None if it could)."""
    if destination.settings is None:
        return None, destination.invalid
    if Capability.BALANCES not in destination.partner.definition.capabilities:
        return None, None
    async with open_client(destination.partner, destination.settings, network=destination.network) as client:
        if not isinstance(client, BalancesClient):
            raise InvariantError(f"{destination.name} declares balances, and its client does not read them")
        try:
            return await client.customer(email), None
        except DeliveryError as error:
            return None, error.message
