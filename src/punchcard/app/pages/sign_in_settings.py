"""Settings > Sign-in: how operators may sign in."""

import json

from litestar import get, post

from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page
from punchcard.operations.executor import run_in_executor
from punchcard.store.access import audit
from punchcard.store.access.access_settings import REQUIRES_TWO_FACTOR, read_setting, write_setting
from punchcard.store.access.operators import list_operators
from punchcard.store.access.second_factors import operators_with_second_factor
from punchcard.store.access.token_store import Role


@get("/settings/sign-in", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def show_sign_in_settings(context: ContextDependency) -> Page:
    """Show how operators may sign in."""
    with context.dependencies.store.reading() as work:
        required = bool(read_setting(work, REQUIRES_TWO_FACTOR))
        operators = list_operators(work)
        with_second_factor = operators_with_second_factor(work)
    return context.page(
        "sign_in_settings.html",
        required=required,
        lacking=[operator for operator in operators if operator.id not in with_second_factor],
    )


@post("/settings/sign-in/two-factor", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def require_two_factor(context: ContextDependency) -> Page:
    """Require a second factor of every operator, or stop doing so."""
    required = context.field("required") == "on"
    with context.dependencies.store.unit_of_work() as work:
        before = bool(read_setting(work, REQUIRES_TWO_FACTOR))
        if before != required:
            write_setting(work, REQUIRES_TWO_FACTOR, "1" if required else "")
            audit.record(
                work,
                at=context.dependencies.clock.now(),
                actor=context.actor,
                kind="change",
                resource_type="sign_in",
                resource_id="workspace",
                changes=json.dumps([{"path": REQUIRES_TWO_FACTOR, "before": before, "after": required}]),
            )
    text = "Two-factor authentication is required now." if required else "Two-factor authentication is optional now."
    return context.redirect("/settings/sign-in", notices=[text])


HANDLERS = (show_sign_in_settings, require_two_factor)
