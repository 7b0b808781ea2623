"""An award in doubt: an operator looks at the destination and says whether it was performed."""

from litestar import get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from punchcard.app.paths import page_path
from punchcard.app.request_context import SHOWS_AWARDS, ContextDependency, Page
from punchcard.delivery.doubts import confirm_absent, confirm_performed
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.lookups import require_row
from punchcard.operations.row_ids import is_row_id
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.doubts import effect_in_doubt
from punchcard.store.delivery.effects import StoredEffect
from punchcard.traces.trace import effect_result
from punchcard.workspace.editing import find_destination


@get("/destinations/{slug:str}/transactions/{number:str}/resolve", opt={SHOWS_AWARDS: True})
@run_in_executor
def show(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """Show what to look for at the destination."""
    destination = find_destination(context.dependencies.workspace(), slug)
    with context.dependencies.store.reading() as work:
        effect = _effect(work, slug, number)
        attempts = ledger.attempts_of(work, [effect.id])[effect.id]
        is_in_doubt = effect_in_doubt(work, effect.id) is not None
    return context.page(
        "doubt.html",
        destination=destination,
        effect=effect,
        result=effect_result(effect, attempts),
        is_in_doubt=is_in_doubt,
    )


@post("/destinations/{slug:str}/transactions/{number:str}/resolve", status_code=200)
@run_in_executor
def resolve(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """Record what the operator has seen at the destination."""
    dependencies, decision = context.dependencies, context.field("decision")
    if decision not in ("performed", "absent"):
        raise ConfigurationError("Choose whether the award was performed.")
    routed = dependencies.current().destinations.get(slug)
    with dependencies.store.unit_of_work() as work:
        effect, now = _effect(work, slug, number), dependencies.clock.now()
        if decision == "performed":
            confirm_performed(
                work,
                effect.id,
                partner_id=context.field("partner_id"),
                definition=None if routed is None else routed.partner.definition,
                actor=context.actor,
                now=now,
            )
            notice = "Recorded as delivered. Nothing was sent."
        else:
            confirm_absent(work, effect.id, actor=context.actor, now=now)
            notice = "The award is back in the queue."
    return context.redirect(page_path("events", effect.message_id), notices=[notice])


def _effect(work: Connection, slug: str, number: str) -> StoredEffect:
    own = ledger.own_ids(work, slug, [int(number)]) if is_row_id(number) else []
    effect_id = require_row(own[0] if own else None, "transaction", number)
    return outbox.effect_by_id(work, effect_id)


HANDLERS = (show, resolve)
"""An award in doubt."""
