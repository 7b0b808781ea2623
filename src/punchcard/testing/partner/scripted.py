"""A partner that follows a script: responses per effect key, a book of what it performed, and network failures."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from punchcard.clock import Clock
from punchcard.destinations.definition import Capability, Definition
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.perkville.definition import PERKVILLE, TRANSACTION
from punchcard.destinations.perkville.refunds import RefundRules, decide_refund
from punchcard.destinations.port import (
    CustomerBalance,
    DeliveryOptions,
    Effect,
    EffectKey,
    Finding,
    Intent,
    KeyScope,
    MappingChoice,
    PartnerClient,
    Performed,
)
from punchcard.destinations.preparation import LedgerRow, NotReady, Ready
from punchcard.destinations.reconciling import KeyContent
from punchcard.errors import (
    CredentialsError,
    OutcomeUnknownError,
    RefusedError,
    RejectedError,
    RetryableError,
)
from punchcard.events.model import Event, EventType
from punchcard.testing.partner.corrections import PerkvilleCorrections
from punchcard.testing.partner.listed_bookings import ListedBookings

QUICK_REFUNDS = RefundRules(wait_seconds=300)
LIST = "list"
"""The key under which a script says how requests for lists are treated."""


class Step(StrEnum):
    """How the partner handles one request."""

    PERFORM = "perform"  # books it and responds
    LOSE_RESPONSE = "lose_response"  # books it, and the response is lost
    LOSE_REQUEST = "lose_request"  # the request is lost, which the sender cannot distinguish from the previous step
    LAND_LATE = "land_late"  # the sender times out first; the request is booked later
    BUSY = "busy"  # 503: certainly not booked
    SLOW_DOWN = "slow_down"  # 429: certainly not booked, too fast
    REJECT = "reject"  # 400: certainly not booked, and never will be
    REFUSE_TOKEN = "refuse_token"  # 401
    BREAK = "break"  # the client itself fails, with an undeclared error
    HANG = "hang"  # no response until `release`


@dataclass(frozen=True, kw_only=True)
class ScriptedSettings:
    """The settings of a scripted partner.

    Attributes:
        token: The credential that goes with every request.
        items: Event name to item.
        refunds: What a refund waits for and goes by.
    """

    token: str = "good"
    items: Mapping[str, str] = field(default_factory=dict)
    refunds: RefundRules = field(default_factory=RefundRules)
    options: DeliveryOptions = field(default_factory=lambda: DeliveryOptions(requests_per_second=0))


@dataclass(frozen=True, kw_only=True)
class Booking:
    """A performed effect."""

    partner_id: str
    effect: Effect


class _Properties(msgspec.Struct):
    """The properties that `ScriptedPartner.plan` reads of a track event."""

    email: str
    quantity: Decimal | None = None
    order_id: str | None = None
    refund: bool = False
    refund_id: str | None = None


@dataclass(frozen=True)
class _Key:
    """`SEG:<scope>:<kind>:<rest>`, as Perkville's keys."""

    kind: str
    rest: str

    def within(self, scope: str) -> EffectKey:
        """Return the key within a scope."""
        return EffectKey(f"SEG:{scope}:{self.kind}:{self.rest}")


class ScriptedPartner(PerkvilleCorrections):
    """A partner with a book that follows a script of steps per effect key; `PERFORM` after the end of a script.

    Args:
        clock: Decides when a late request is booked.
        refuses_used_keys: True if it responds with `duplicate_key` to a key in its book; False if it books it again.
        late_seconds: How long after the sender's time-out a late request is booked.
    """

    definition = Definition(
        id="scripted",
        slug="scripted",
        name="Scripted",
        description="Responds as scripted by a test.",
        website="",
        categories=(),
        supported=frozenset({EventType.TRACK}),
        settings=(),
        options=(),
        kinds=PERKVILLE.kinds,
        reopened=PERKVILLE.reopened,
        capabilities=frozenset(
            {
                Capability.VALUE_CHOICES,
                Capability.BALANCES,
                Capability.AMOUNTS,
                Capability.PREPARATION,
                Capability.CORRECTIONS,
                Capability.RECONCILE,
            }
        ),
    )

    def __init__(self, *, clock: Clock, refuses_used_keys: bool = True, late_seconds: float = 5.0) -> None:
        self._clock = clock
        self._refuses_used_keys = refuses_used_keys
        self._late_seconds = late_seconds
        self._sends: dict[str, deque[Step]] = {}
        self._reads: dict[str, deque[Step]] = {}
        self._late: list[tuple[float, Effect]] = []
        self._released = asyncio.Event()
        self._after_hanging = Step.PERFORM
        self.book: list[Booking] = []
        self.requests: list[str] = []
        self.tokens = {"good"}
        self.clients: list[ScriptedClient] = []
        self.retry_after_seconds: float | None = None
        self.checks = 0  # number of checks of a token
        self.accepts_on_check = False  # True: a check accepts any token, whatever the responses to requests are

    def script(self, effect_key: str, sends: Iterable[Step] = (), *, reads: Iterable[Step] = ()) -> None:
        """Set the steps of the next requests for a key, and of the next look-ups."""
        self._sends.setdefault(effect_key, deque()).extend(sends)
        self._reads.setdefault(effect_key, deque()).extend(reads)

    def release(self, then: Step = Step.PERFORM) -> None:
        """Continue the hanging requests with this step."""
        self._after_hanging = then
        self._released.set()

    def keys(self) -> list[str]:
        """Return the effect keys of the book in order."""
        self.land()
        return [booking.effect.effect_key for booking in self.book]

    def booked_twice(self) -> list[str]:
        """Return the effect keys that are in the book more than once, which must be none."""
        return [key for key, times in Counter(self.keys()).items() if times > 1]

    def land(self) -> None:
        """Book the late requests that are due."""
        now = self._clock.monotonic()  # independent of changes of the wall clock
        due = [effect for at, effect in self._late if at <= now]
        self._late = [(at, effect) for at, effect in self._late if at > now]
        for effect in due:
            if not (self._refuses_used_keys and self.first_booking(effect.effect_key)):
                self.enter(effect)

    def first_booking(self, effect_key: str) -> Booking | None:
        """Return the first booking under a key, None if there is none."""
        return next((booking for booking in self.book if booking.effect.effect_key == effect_key), None)

    def enter(self, effect: Effect) -> Booking:
        """Book an effect."""
        booking = Booking(partner_id=f"p{len(self.book) + 1}", effect=effect)
        self.book.append(booking)
        return booking

    def read_settings(self, settings: Mapping[str, object], options: Mapping[str, object]) -> ScriptedSettings:
        """Return the defaults, because this partner is configured in code."""
        return ScriptedSettings()

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        """Plan an award of `quantity` for `email`, or its removal if `refund` is true; keys like Perkville's.

        Raises:
            RefusedError: The properties are invalid.
        """
        try:
            read = msgspec.json.decode(bytes(event.wire.properties) or b"{}", type=_Properties)
        except msgspec.DecodeError as error:
            raise RefusedError(str(error), code="invalid_properties") from error
        scope = _settings(settings).options.order_scope
        scoped = None
        if read.refund:
            scoped = _Key("REFUND", f"{read.order_id}:{read.refund_id or event.message_id}")
        elif read.order_id:
            scoped = _Key("ORDER", read.order_id)
        if scoped is None:
            key = EffectKey(f"SEG:{source}:EVENT:{event.message_id}")
        else:
            key = scoped.within(destination if scope is KeyScope.DESTINATION else source)
        sign = -1 if read.refund else 1
        return Intent(
            kind=TRANSACTION,
            effect_key=key,
            scoped_key=scoped,
            scope=scope,
            customer=read.email.lower(),
            email=read.email,
            event_name=event.wire.event or "",
            item="1",
            quantity=None if read.quantity is None else sign * read.quantity,
            order_id=read.order_id,
            is_refund=read.refund,
            refund_id=read.refund_id,
        )

    def supported_calls(self, settings: object) -> frozenset[EventType]:
        """Return all types that the definition supports."""
        return self.definition.supported

    def remap(self, event_name: str, settings: object) -> str | None:
        """Return the item of the settings."""
        return _settings(settings).items.get(event_name)

    def prepare(
        self,
        effect: LedgerRow,
        others: Sequence[LedgerRow],
        *,
        refusal: str | None,
        settings: object,
        now: datetime,
    ) -> Ready | NotReady:
        """Prepare like Perkville."""
        return decide_refund(effect, others, refusal=refusal, rules=_settings(settings).refunds, now=now)

    def read_key(self, effect_key: str, settings: object) -> KeyContent:
        """Return no content; keys of this partner have none."""
        return KeyContent()

    def delivery_options(self, settings: object) -> DeliveryOptions:
        """Return the options of the settings."""
        return _settings(settings).options

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        """Return a client that follows the script."""
        client = ScriptedClient(self, _settings(settings))
        self.clients.append(client)
        return client

    def preview(self, effect: Effect, settings: object) -> Mapping[str, object]:
        """Return the key, which is all that this partner uses."""
        return {"key": effect.effect_key}

    def next_send(self, effect_key: str) -> Step:
        """Take the next step for a request."""
        steps = self._sends.get(effect_key)
        return steps.popleft() if steps else Step.PERFORM

    def next_read(self, effect_key: str) -> Step:
        """Take the next step for a look-up."""
        steps = self._reads.get(effect_key)
        return steps.popleft() if steps else Step.PERFORM

    def refuses(self, effect_key: str) -> bool:
        """Return whether the key is used and the partner refuses used keys."""
        return self._refuses_used_keys and self.first_booking(effect_key) is not None

    def delay(self, effect: Effect) -> None:
        """Store a request that is booked later."""
        self._late.append((self._clock.monotonic() + self._late_seconds, effect))

    async def hang(self) -> Step:
        """Wait for `release`; return the step that follows."""
        await self._released.wait()
        return self._after_hanging


class ScriptedClient(ListedBookings):
    """The client of a scripted partner."""

    def __init__(self, partner: ScriptedPartner, settings: ScriptedSettings) -> None:
        self._partner = partner
        self._settings = settings
        self.closed = False

    async def perform(self, effect: Effect) -> Performed:
        """Perform the step of the script."""
        await asyncio.sleep(0)
        partner = self._partner
        partner.requests.append(effect.effect_key)
        partner.land()
        step = partner.next_send(effect.effect_key)
        if step is Step.HANG:
            step = await partner.hang()
        self._fail(step)
        if step is Step.LOSE_REQUEST:
            raise OutcomeUnknownError("The connection was reset.")
        if step is Step.LAND_LATE:
            partner.delay(effect)
            raise OutcomeUnknownError("The partner did not respond in time.")
        if partner.refuses(effect.effect_key):
            raise RejectedError("This id is already used.", code="duplicate_key", status=400)
        if step is Step.REJECT:
            raise RejectedError("There is no such perk.", code="perk_unknown", status=400)
        booking = partner.enter(effect)
        if step is Step.LOSE_RESPONSE:
            raise OutcomeUnknownError("Gateway time-out.", status=504)
        return Performed(status=201, partner_id=booking.partner_id)

    async def find(self, effect: Effect) -> Performed | None:
        """Look an effect up in the book, if the script allows it."""
        await asyncio.sleep(0)
        self._partner.land()
        step = self._partner.next_read(effect.effect_key)
        self._fail(step)
        if step in (Step.LOSE_RESPONSE, Step.LOSE_REQUEST):
            raise OutcomeUnknownError("The connection was reset.")
        if step is Step.REJECT:
            raise RejectedError("Page not found.", status=404)
        booking = self._partner.first_booking(effect.effect_key)
        if booking is None:
            return None
        quantity = booking.effect.quantity
        return Performed(status=None, partner_id=booking.partner_id, units=None if quantity is None else abs(quantity))

    async def check(self) -> Sequence[Finding]:
        """Return no findings."""
        return ()

    async def verify(self) -> None:
        """Check the token as for requests, unless the partner accepts every check.

        Raises:
            CredentialsError: The token is invalid.
        """
        await asyncio.sleep(0)
        self._partner.checks += 1
        if not self._partner.accepts_on_check:
            self._fail(Step.PERFORM)

    async def mapping_choices(self) -> Sequence[MappingChoice]:
        """Return no choices."""
        return ()

    async def customer(self, email: str) -> CustomerBalance | None:
        """Return None: no customer is known."""
        return None

    def _book(self) -> Sequence[Booking]:
        return self._partner.book

    def _before_listing(self) -> None:
        self._partner.land()
        self._fail(self._partner.next_read(LIST))

    async def close(self) -> None:
        """Record that the client was closed."""
        self.closed = True

    def _fail(self, step: Step) -> None:
        if self._settings.token not in self._partner.tokens or step is Step.REFUSE_TOKEN:
            raise CredentialsError("The token is invalid.", status=401)
        if step is Step.BUSY:
            raise RetryableError("Down for maintenance.", status=503)
        if step is Step.SLOW_DOWN:
            raise RetryableError(
                "Too many requests.", status=429, retry_after_seconds=self._partner.retry_after_seconds
            )
        if step is Step.BREAK:
            raise KeyError("objects")


def _settings(settings: object) -> ScriptedSettings:
    if not isinstance(settings, ScriptedSettings):
        raise TypeError(f"These are not the settings of a scripted partner: {settings!r}.")
    return settings
