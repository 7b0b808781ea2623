"""Corrections of a scripted partner: decided like those of Perkville."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from punchcard.destinations.correcting import CorrectionStep, EffectContent
from punchcard.destinations.perkville.corrections import decide_correction, plan_correction
from punchcard.destinations.preparation import LedgerRow, NotReady, Ready


class PerkvilleCorrections:
    """Plans and prepares corrections like Perkville; its settings have the rules of refunds as `refunds`."""

    def plan_correction(
        self, first: LedgerRow, content: EffectContent, *, destination: str, settings: object
    ) -> Sequence[CorrectionStep]:
        """Plan like Perkville."""
        return plan_correction(first, content, destination=destination)

    def prepare_correction(
        self, correction: LedgerRow, first: LedgerRow, others: Sequence[LedgerRow], *, settings: Any, now: datetime
    ) -> Ready | NotReady:
        """Prepare like Perkville."""
        return decide_correction(correction, first, others, rules=settings.refunds, now=now)
