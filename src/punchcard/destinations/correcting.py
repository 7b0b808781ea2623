"""The optional part of the port by which a destination gives an effect another content after it was decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol, runtime_checkable

from punchcard.destinations.port import EffectKey
from punchcard.destinations.preparation import LedgerRow, NotReady, Ready


@dataclass(frozen=True, kw_only=True)
class EffectContent:
    """What an event wants of an effect.

    Attributes:
        source: Slug of the event's source.
        quantity: Signed units; None if the ledger decides, or if there is no item.
        event_settings: The settings that came with the event, None if none came.
    """

    source: str
    message_id: str
    event_name: str
    email: str
    item: str | None
    quantity: Decimal | None
    event_settings: Mapping[str, object] | None = None

    @property
    def customer(self) -> str:
        """The email lower-cased."""
        return self.email.lower()


@dataclass(frozen=True, kw_only=True)
class CorrectionStep:
    """An effect of a correction: what a customer has of the corrected effect is brought to what the content gives.

    Attributes:
        effect_key: Derived from both contents and the step, so that it is the same however often it is planned.
    """

    effect_key: EffectKey
    email: str
    item: str


@runtime_checkable
class CorrectsEffects(Protocol):
    """A destination with `Capability.CORRECTIONS`.

    The steps are planned when an operator decides. What each of them sends is decided when it is claimed, against the
    ledger, so that refunds that came meanwhile are counted and one that is prepared again adds nothing.
    """

    def plan_correction(
        self, first: LedgerRow, content: EffectContent, *, destination: str, settings: object
    ) -> Sequence[CorrectionStep]:
        """Plan the effects that give an effect another content. Pure.

        Args:
            first: The effect, with the content that counts now.
            content: The content that is to count instead.
            destination: Slug of the configured destination.

        Raises:
            RefusedError: it cannot be corrected; the message says why and what to do.
        """

    def prepare_correction(
        self, correction: LedgerRow, first: LedgerRow, others: Sequence[LedgerRow], *, settings: object, now: datetime
    ) -> Ready | NotReady:
        """Decide what a step sends, or where it goes instead. Pure.

        Args:
            first: The effect that it corrects, with the content that is to count.
            others: All other effects of the order, and of the same correction; `first` is among them.
        """
