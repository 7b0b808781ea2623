"""An effect and its attempts as types: what routing adds, what the outbox and ledger hold, how a try ended."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from punchcard.store.stored_enum import StoredEnum

T = TypeVar("T")


class ConflictResolution(StoredEnum):
    """What an operator decided of a conflict."""

    KEPT = "kept"  # the first content counts
    CORRECTED = "corrected"  # the second content counts: the difference is sent


class EffectState(StoredEnum):
    """The states of an effect."""

    PENDING = "pending"  # waits for its first attempt
    SENDING = "sending"  # claimed by a worker; once its lease is over, its outcome is unknown
    RETRYING = "retrying"  # surely not performed yet; waits for its next attempt
    UNKNOWN = "unknown"  # perhaps performed; will be read back before anything is sent again
    PARKED = "parked"  # needs an operator: tries used up, or the outcome cannot be found out
    REJECTED = "rejected"  # surely not performed; the partner refused it for good
    DELIVERED = "delivered"  # performed once

    @property
    def is_open(self) -> bool:
        """True while the effect is still in the outbox."""
        return self in _OPEN


_OPEN = frozenset({EffectState.PENDING, EffectState.SENDING, EffectState.RETRYING, EffectState.UNKNOWN})

# Why an effect for one account of a partner is not sent to another one, which the settings name now: it was surely not
# performed; or perhaps it was.
OTHER_ACCOUNT = "other_account"
OTHER_ACCOUNT_IN_DOUBT = "other_account_in_doubt"
# Why a call of Engage is not sent to another account either: Engage syncs what that one must have by calls of its own.
SYNCED_AGAIN = "synced_again"
# Reasons of a parked effect that was perhaps performed.
UNCERTAIN_REASONS = ("outcome_unknown", "duplicate_key", "dismissed_in_doubt", OTHER_ACCOUNT_IN_DOUBT)
# Why an effect that has not been sent yet lets the customer's other effects go first.
WAITING_FOR_ORDER = "waiting_for_order"
# Of an attempt that its worker did not finish.
NO_ANSWER = "the worker stopped before the answer came"
# Why a delivered effect was corrected to rejected, after a comparison with what the partner has booked.
ABSENT_AT_PARTNER = "absent_at_partner"
REVERSED_AT_PARTNER = "reversed_at_partner"
CORRECTED_REASONS = (ABSENT_AT_PARTNER, REVERSED_AT_PARTNER)
# Why an effect of which a person has decided is not sent.
SUPERSEDED = "superseded"  # another content of the same order was chosen before this one was sent
NOTHING_TO_CORRECT = "nothing_to_correct"  # of a correction: the customer has what the chosen content gives
# Why an effect is not sent any more: its customer is deleted or suppressed.
SUBJECT_DELETED = "subject_deleted"
SUBJECT_SUPPRESSED = "subject_suppressed"
# How the customer of an effect begins after the person was deleted; the keyed hash of the email follows.
DELETED_CUSTOMER = "deleted:"
DISMISSED_REASONS = (
    "dismissed",
    "dismissed_in_doubt",
    *CORRECTED_REASONS,
    SUPERSEDED,
    NOTHING_TO_CORRECT,
    SUBJECT_DELETED,
    SUBJECT_SUPPRESSED,
    SYNCED_AGAIN,
)
# Of an effect that an operator has put back in the queue.
RETRIED = "retried"
# Of an effect that is read back, and sent if it is not there, because a comparison did not find it at the partner.
SENT_AGAIN = "sent_again"


@dataclass(frozen=True, kw_only=True)
class NewEffect:
    """An effect as routing adds it. Quantities are signed; None for none, or one that preparation decides."""

    destination: str
    effect_key: str
    kind: str
    source: str
    message_id: str
    event_name: str
    log_position: int
    event_index: int
    received_at: datetime
    customer: str
    email: str
    item: str | None
    requested_quantity: Decimal | None
    attributes: Mapping[str, object] | None
    order_id: str | None
    is_refund: bool
    event_settings: Mapping[str, object] | None = None
    refund_id: str | None = None
    ordering_key: str | None = None
    event_type: str | None = None
    payload: str | None = None
    summary: str | None = None
    replay: str | None = None
    corrects: int | None = None
    account: str | None = None


OrderingGroup = tuple[str, str]
"""An ordering key and a kind of effect."""


@dataclass(frozen=True, kw_only=True)
class StoredEffect:
    """A row of the outbox and ledger; quantities are signed decimals.

    Attributes:
        corrects: Id of the effect that this one corrects, None for any other.
        corrected_content: The content that counts instead of its own, as `StoredConflict.content`; None for its own.
        account: The account at the destination that it is planned for, or was last sent to; None if that is not known.
        unreadable: Which columns hold what this version cannot read, so that nothing may be sent by them; their values
            are None, or the raw text for a state. None for a sound row.
    """

    id: int
    destination: str
    effect_key: str
    kind: str
    source: str
    message_id: str
    event_name: str
    received_at: datetime
    customer: str
    email: str
    item: str | None
    requested_quantity: Decimal | None
    quantity: Decimal | None
    attributes: Mapping[str, object] | None
    order_id: str | None
    is_refund: bool
    state: EffectState
    reason: str | None
    detail: str | None
    attempts: int
    tries: int
    due_at: datetime
    partner_id: str | None
    created_at: datetime
    finished_at: datetime | None
    event_settings: Mapping[str, object] | None = None
    refund_id: str | None = None
    unreadable: str | None = None
    ordering_key: str | None = None
    event_type: str | None = None
    payload: str | None = None
    summary: str | None = None
    corrects: int | None = None
    corrected_content: Mapping[str, object] | None = None
    account: str | None = None

    @property
    def ordering_group(self) -> OrderingGroup:
        """Effects of one ordering key are delivered in order, one at a time."""
        return self.customer if self.ordering_key is None else self.ordering_key, self.kind


class Action(StrEnum):
    """What one HTTP call to a partner is for."""

    SEND = "send"  # makes the effect happen
    READ_BACK = "read_back"  # asks whether it did


class AttemptOutcome(StrEnum):
    """How one attempt ended."""

    DELIVERED = "delivered"  # performed, or found performed
    NOT_FOUND = "not_found"  # read back: surely not there
    RETRYABLE = "retryable"  # surely not performed
    REJECTED = "rejected"  # refused for good
    CREDENTIALS = "credentials"  # refused for its credentials
    UNKNOWN = "unknown"  # perhaps performed


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt in flight: committed before its first byte leaves.

    Attributes:
        account: As `StoredEffect.account`, once this attempt is started.
        other_ids: For reading back: the partner's ids of the customer's other delivered effects, with their keys.
        expected_ids: For reading back: those of them that were delivered in this account, so that one must be shown.
        elsewhere: For reading back: the newest delivered effect of another customer, None for none.
    """

    effect: StoredEffect
    number: int
    action: Action
    item: str | None
    quantity: Decimal | None
    detail: str | None
    account: str | None = None
    other_ids: Mapping[str, str] = msgspec.field(default_factory=dict)
    expected_ids: Collection[str] = ()
    elsewhere: StoredEffect | None = None


class AttemptResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended and what follows for its effect.

    Attributes:
        counts: False if the try does not count against the effect (the partner only required fewer requests, say).
        quantity: Signed units that the partner booked, where the ledger did not know them; None leaves what it has.
    """

    effect_id: int
    number: int
    finished_at: datetime
    status: int | None
    outcome: AttemptOutcome
    attempt_detail: str | None
    state: EffectState
    reason: str | None
    detail: str | None
    due_at: datetime
    partner_id: str | None
    counts: bool = True
    quantity: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Move:
    """A new state of an effect without an attempt."""

    effect_id: int
    state: EffectState
    reason: str | None
    detail: str | None
    due_at: datetime


_STATES: Final = {state.value: state for state in EffectState}


def effect_of(row: Any) -> StoredEffect:
    """The typed effect of one selected row of `effects`. A damaged row must not hide the others of its query."""
    values: dict[str, Any] = row._asdict()
    for column in _NOT_IN_EFFECT:
        values.pop(column, None)
    faults: list[str] = []
    values["state"] = _STATES.get(values["state"]) or _unlisted_state(values["state"], faults)
    for column, reader in _READERS:
        if values[column] is not None:
            values[column] = _read(values, column, reader, faults)
    values["unreadable"] = "; ".join(faults) or None
    return filled(StoredEffect, values)


def filled(kind: type[T], values: dict[str, Any]) -> T:
    """Return a frozen dataclass with these attributes, of which it takes over the dictionary.

    A generated `__init__` of many attributes takes seven times as long, for each claimed effect.
    """
    instance = object.__new__(kind)
    object.__setattr__(instance, "__dict__", values)
    return instance


def _unlisted_state(value: object, faults: list[str]) -> EffectState:
    if not isinstance(value, str):
        faults.append(f"state is {value!r:.100}")
        return EffectState.UNKNOWN
    faults.append(f"state is {value:.100}")
    return EffectState(value)


def _read(columns: Mapping[str, Any], column: str, reader: Callable[[str], T], faults: list[str]) -> T | None:
    try:
        return reader(columns[column])
    except (ValueError, ArithmeticError, TypeError, RecursionError):
        faults.append(f"{column} is {columns[column]!r:.100}")
        return None


def _finite(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def _json_object(text: str) -> Mapping[str, object]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(text)
    return value


_READERS: Final[Sequence[tuple[str, Callable[[str], object]]]] = (
    ("requested_quantity", _finite),
    ("quantity", _finite),
    ("attributes", _json_object),
    ("event_settings", _json_object),
    ("corrected_content", _json_object),
)
# Columns that no effect shows.
_NOT_IN_EFFECT: Final = ("log_position", "event_index", "is_open", "lease_until", "replay")
