"""The interface of a destination: a pure mapping of events, and a client that performs effects at the partner."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NewType, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from punchcard.destinations.definition import Definition
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.errors import DeliveryError
from punchcard.events.model import Event, EventType

EffectKey = NewType("EffectKey", str)


LOOKS_LIKE_ORDER: Final = "looks_like_order"
"""The `note_code` of an intent that earns one unit although its event looks like an order."""


class KeyScope(StrEnum):
    """Within what an order is one order, so that its effect key is unique."""

    DESTINATION = "destination"  # whichever of its sources tracks it
    SOURCE = "source"  # each source counts its own orders


class ScopedKey(Protocol):
    """An effect key with an open scope, so that it can be compared with keys of another scope."""

    def within(self, scope: str) -> EffectKey:
        """Return the key within the scope of that slug."""


class OnRepeat(StrEnum):
    """What a second event with the same effect key is."""

    COMPARE = "compare"  # a duplicate if its content is the same, else a conflict
    DUPLICATE = "duplicate"  # a duplicate whatever it holds (once a day)


class OnUnknown(StrEnum):
    """What follows an attempt with an unknown outcome. The client of the first one can read back."""

    READ_BACK = "read_back"  # ask the destination whether the effect was performed: exactly once
    RESEND = "resend"  # send it again under the same key: at least once, the receiver drops the repeat
    PARK = "park"  # leave the decision to an operator: at most once until then


@dataclass(frozen=True, kw_only=True)
class Intent:
    """An effect as an event plans it: what is to happen, for whom, under which key.

    Holds nothing from the settings that may change before delivery but the item, which is looked up again before the
    effect is sent. An event that brought its own settings keeps them: the configuration's are not its own.

    Attributes:
        kind: One of `Definition.kinds`.
        effect_key: Derived idempotency key, unique at the destination.
        customer: The email lower-cased, "" if the effect is not about a customer.
        email: The email as sent, trimmed; "" likewise.
        event_name: The track event's name; the call's for an effect that is not of a track call.
        item: What the effect gives or takes, by its id at the destination. None for an effect without a quantity.
        quantity: Signed units of the item, at most two decimals, never zero; negative takes away. None without an item,
            and for a refund that carries no amount: it is decided when the effect is prepared.
        order_id: The order that is paid for or refunded, None for anything else. Effects of one order are compared.
        is_refund: True if the effect depends on the others of its order: it is prepared when it is claimed, and again
            when one of them ends. Such a destination has `Capability.PREPARATION`.
        refund_id: The sender's own id of a refund; None if it gave none, or for anything else.
        attributes: JSON-able attributes to set at the customer, one effect one attribute; None for any other effect.
        scoped_key: The key with its scope left open; None if the scope is always the source.
        scope: Within what `scoped_key` is unique.
        other_keys: The keys of the same order or refund under the other texts of its ids: an earlier version
            distinguished them.
        on_repeat: What a second event with the same key is.
        repeat_reason: Reason code of such a duplicate.
        event_settings: The settings that came with the event, without maps and secrets; None if none came.
        note: A sentence for the event's trace where a person may have expected something else.
        note_code: Reason code that counts such events.
        ordering_key: Effects of one kind with the same key are performed in order, one at a time; None for `customer`.
        payload: The destination's own value as JSON text, which routing, outbox and delivery do not read. None if all
            that it needs is in the other fields.
        summary: What lists show of the effect, a few words; None if the fields that they show otherwise
            (`Definition.summary_columns`, attributes) say it.
    """

    kind: str
    effect_key: EffectKey
    customer: str
    email: str
    event_name: str
    item: str | None = None
    quantity: Decimal | None = None
    order_id: str | None = None
    is_refund: bool = False
    refund_id: str | None = None
    attributes: Mapping[str, object] | None = None
    scoped_key: ScopedKey | None = None
    scope: KeyScope = KeyScope.DESTINATION
    other_keys: Sequence[ScopedKey] = ()
    on_repeat: OnRepeat = OnRepeat.COMPARE
    repeat_reason: str = "same_effect"
    event_settings: Mapping[str, object] | None = None
    note: str | None = None
    note_code: str | None = None
    ordering_key: str | None = None
    payload: str | None = None
    summary: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveredEffect:
    """An effect that the ledger has as delivered, to compare with what the partner shows of it.

    Attributes:
        partner_id: The partner's id of what it stored, None if it gave none.
    """

    email: str
    effect_key: str
    partner_id: str | None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An effect ready to be performed: an intent with its decided amount.

    Attributes:
        item: The item to use now.
        quantity: Signed units, never None with an item.
        event_settings: The settings that came with the event, in place of the destination's; None if none came.
        payload: As of its intent.
        named_id: For reading back: the partner's id that an inconclusive response has named, None for none.
        other_ids: For reading back: the partner's ids of the customer's other delivered effects, with their keys.
        expected_ids: For reading back: those of them that were delivered in this account, so that one must be shown.
        elsewhere: For reading back: the newest delivered effect of another customer, None for none.
    """

    kind: str
    effect_key: EffectKey
    email: str
    event_name: str
    item: str | None
    quantity: Decimal | None
    attributes: Mapping[str, object] | None
    event_settings: Mapping[str, object] | None = None
    payload: str | None = None
    named_id: str | None = None
    other_ids: Mapping[str, str] = field(default_factory=dict)
    expected_ids: Collection[str] = ()
    elsewhere: DeliveredEffect | None = None


@dataclass(frozen=True, kw_only=True)
class Performed:
    """The partner performed the effect.

    Attributes:
        status: HTTP status of the response, None if it was found by reading back.
        partner_id: The partner's id of what it stored, None if it gave none.
        note: A sentence where the partner's response differs from the request (another quantity, say), else None.
        units: How many units the partner shows for what was found by reading back, without a sign; else None.
    """

    status: int | None
    partner_id: str | None
    note: str | None = None
    units: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryOptions:
    """How delivery treats one destination.

    Attributes:
        requests_per_second: The rate limit; 0 means none.
        concurrency: Requests in flight at most.
        retry_base_seconds: The first wait before a retry.
        tries_max: Tries before an effect is parked.
        unknown_wait_seconds: How long after an unknown outcome the lost request may still land; then it is read back.
        request_timeout_seconds: When a request without an answer is given up.
        check_base_seconds: How soon credentials that were refused are checked for the first time.
        check_longest_seconds: The longest wait between two such checks.
        order_scope: Within what an order id names one order.
        on_unknown: What follows an attempt with an unknown outcome.
        batch_size: Effects that one request may carry. With more than 1 the client is a `BatchClient`.
        batch_bytes: Bytes of payloads that one request may carry; a single larger effect goes alone.
    """

    requests_per_second: float = 2
    concurrency: int = 64
    retry_base_seconds: float = 30
    tries_max: int = 10
    unknown_wait_seconds: float = 10
    request_timeout_seconds: float = 10
    check_base_seconds: float = 5
    check_longest_seconds: float = 300
    order_scope: KeyScope = KeyScope.DESTINATION
    on_unknown: OnUnknown = OnUnknown.READ_BACK
    batch_size: int = 1
    batch_bytes: int = 900_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A line of a start-up check.

    Attributes:
        ok: False if an operator must act.
        subject: What was looked at, e.g. `location 7`.
        message: What was found, in a sentence.
    """

    ok: bool
    subject: str
    message: str


@dataclass(frozen=True, kw_only=True)
class MappingChoice:
    """Something of the partner's that event names can be mapped to.

    Attributes:
        value: Its id, as the map holds it.
        title: Its name at the partner.
        points: What one unit gives (negative: takes), None if the partner does not say.
        note: Why it cannot be used for awards, "" if it can.
    """

    value: str
    title: str
    points: Decimal | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CustomerBalance:
    """What the partner knows of one customer.

    Attributes:
        balance: Points, None if the partner does not say.
        status: The partner's own word, "" if it gives none.
    """

    partner_id: str
    balance: Decimal | None
    status: str


class PartnerClient(Protocol):
    """Talks to one partner with one set of settings. Every method may raise the DeliveryError classes."""

    async def perform(self, effect: Effect) -> Performed:
        """Make the effect happen at the partner, once.

        Raises:
            RetryableError: surely not performed, later perhaps.
            RejectedError: surely not performed, never will be. Code `duplicate_key` if the partner says that the key
                is used already: the caller then reads back before it decides.
            CredentialsError: surely not performed; an operator must act.
            OutcomeUnknownError: perhaps performed.
        """

    async def check(self) -> Sequence[Finding]:
        """Read what the settings refer to and say what is wrong with it."""

    async def verify(self) -> None:
        """See that the partner knows these credentials and the account that the settings name.

        Raises:
            CredentialsError: it does not accept them.
            RejectedError: the account is not there, or not theirs.
            RetryableError: it cannot be reached at the moment.
        """

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class ReadBackClient(Protocol):
    """A client that can read back, as `OnUnknown.READ_BACK` asks of it."""

    async def find(self, effect: Effect) -> Performed | None:
        """Read back whether the effect was performed; None if it surely was not (yet)."""


@runtime_checkable
class BatchClient(Protocol):
    """A client that performs several effects by one request."""

    async def perform_batch(self, effects: Sequence[Effect]) -> Sequence[Performed | DeliveryError]:
        """Make the effects happen; returns the result of each, in order. An error that is raised is that of all."""


@runtime_checkable
class ChoicesClient(Protocol):
    """A client of a destination with `Capability.VALUE_CHOICES`."""

    async def mapping_choices(self) -> Sequence[MappingChoice]:
        """What event names can be mapped to, by title."""


@runtime_checkable
class BalancesClient(Protocol):
    """A client of a destination with `Capability.BALANCES`."""

    async def customer(self, email: str) -> CustomerBalance | None:
        """What the partner knows of a customer; None if it does not know them."""


@runtime_checkable
class ForwardsDeletions(Protocol):
    """A destination with `Capability.DELETION`."""

    def plan_deletion(self, user_id: str, *, source: str, message_id: str, requested_at: datetime) -> Intent:
        """The effect that requests the partner to delete a user. Pure.

        Args:
            source: Slug of the source that the deletion was requested through, "workspace" for none.
            message_id: The same for every repetition of the request.
        """


@runtime_checkable
class NamesAccounts(Protocol):
    """A destination with settings that name an account. What one account has performed is not read back in another."""

    def account(self, settings: object, event_settings: Mapping[str, object] | None) -> str:
        """The account that an effect is performed in, to be shown: `business 41 at https://…`. No secrets.

        Args:
            event_settings: Those of the effect.
        """


def account_of(partner: object, settings: object, event_settings: Mapping[str, object] | None) -> str | None:
    """Return the account that an effect with these event settings is performed in; None without accounts."""
    return partner.account(settings, event_settings) if isinstance(partner, NamesAccounts) else None


@runtime_checkable
class RemapsItems(Protocol):
    """A destination that maps event names to items by its settings. A corrected map counts for what is not sent yet."""

    def remap(self, event_name: str, settings: object) -> str | None:
        """The item that the settings map the event name to now, None if none.

        What it returns replaces the item of an effect before it is sent.
        """


class Partner(Protocol):
    """The code of one partner: a destination definition with its pure plan and its client. S is its typed settings."""

    definition: Definition

    def read_settings(self, settings: Mapping[str, object], options: Mapping[str, object]) -> object:
        """The typed settings of a configured destination.

        Raises:
            ConfigurationError: with the key path in the message.
        """

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        """The effect that the event earns under these settings. Pure.

        Args:
            source: Slug of the event's source.
            destination: Slug of the configured destination.
            timezone: Of the workspace.

        Raises:
            RefusedError: the event earns nothing; code and message say why.
        """

    def supported_calls(self, settings: object) -> frozenset[EventType]:
        """The calls that a destination with these settings takes: all that its definition supports, or fewer."""

    def delivery_options(self, settings: object) -> DeliveryOptions:
        """Return how these settings want their effects delivered."""

    def preview(self, effect: Effect, settings: object) -> Mapping[str, object]:
        """The request that `perform` would make, for people to look at: `{"method", "url", "body"}`, no secrets.

        Where the client first reads something from the partner to decide, the preview assumes the usual case and says
        so under `note`.
        """

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        """A client for these settings.

        Args:
            network: The addresses to which a client may connect if its address is typed into a form.
        """
