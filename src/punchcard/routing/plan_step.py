"""The step of a source's rules that compares its events with a tracking plan and enforces it."""

from typing import Final

from punchcard.events.model import Event
from punchcard.events.notes import Note
from punchcard.routing.rule_steps import Ruled, Violation, rewrite
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.tracking_plans.enforcement import enforce
from punchcard.tracking_plans.model import Enforcement
from punchcard.tracking_plans.validation import CompiledPlan

PLAN_VIOLATED: Final = "plan_violated"
"""Reason of the note of a violation."""

PROPERTY_OMITTED: Final = "property_omitted"
"""Reason of the note of an omitted property."""

VIOLATION_EVENT: Final = "Violation Generated"
"""Name of the event that a violation is forwarded as. It never has violations itself, so forwarding cannot loop."""


class PlanStep:
    """Records the violations of an event, and omits properties or stops it as the source is configured.

    Args:
        plan: The source's tracking plan.
        enforcement: What is done with violations.
    """

    is_final = False

    def __init__(self, plan: CompiledPlan, enforcement: Enforcement) -> None:
        self._plan = plan
        self._slug = plan.plan.slug
        self._enforcement = enforcement

    def apply(self, event: Event) -> Ruled | None:
        """Return what the tracking plan makes of an event, None for an event as planned."""
        plan_violations = self._plan.find_violations(event)
        if not plan_violations or event.wire.event == VIOLATION_EVENT:
            return None
        enforced = enforce(event, plan_violations, self._enforcement, plan=self._slug)
        notes = [
            Note(PLAN_VIOLATED, violation_note(self._slug, violation.kind, violation.description))
            for violation in plan_violations
        ]
        violations = tuple(
            Violation(self._slug, violation.kind, violation.field, violation.description)
            for violation in plan_violations
        )
        if enforced.reason is not None:
            result = EventResult(None, EventStatus.FILTERED_AT_SOURCE, enforced.reason, enforced.detail)
            return Ruled(event=None, result=result, notes=tuple(notes), violations=violations)
        if enforced.raw is not None:
            event = rewrite(event, enforced.raw)
            notes += [
                Note(PROPERTY_OMITTED, f"{field} was omitted by tracking plan {self._slug}")
                for field in enforced.omitted
            ]
        return Ruled(event=event, notes=tuple(notes), violations=violations)


def violation_note(plan: str, kind: str, description: str) -> str:
    """Return the sentence by which a violation is stored with its event.

    Args:
        plan: Slug.
        description: As in a violation, or its beginning to look for all with it.
    """
    return f"tracking plan {plan}: {kind}: {description}"
