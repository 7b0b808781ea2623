"""Settings > Sign-in: how operators may sign in."""

from litestar import get, post

from punchcard.app.forms import FormErrors
from punchcard.app.pages.oidc import CALLBACK_PATH
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.oidc import OidcError, OidcSettings, read_oidc_settings
from punchcard.operations.oidc_accounts import load_oidc_settings, store_oidc_settings
from punchcard.store.access import audit
from punchcard.store.access.access_settings import REQUIRES_TWO_FACTOR, read_setting, write_setting
from punchcard.store.access.operators import list_operators
from punchcard.store.access.second_factors import operators_with_second_factor
from punchcard.store.access.token_store import Role
from punchcard.workspace.keyring import is_masked, mask

_OIDC_FIELDS = ("name", "issuer", "client_id", "client_secret", "allowed_domains", "new_users")


@get("/settings/sign-in", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def show_sign_in_settings(context: ContextDependency) -> Page:
    """Show how operators may sign in."""
    return _settings(context, FormErrors())


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
                changes=audit.changes_json(audit.ChangedValue(REQUIRES_TWO_FACTOR, before=before, after=required)),
            )
    text = "Two-factor authentication is required now." if required else "Two-factor authentication is optional now."
    return context.redirect("/settings/sign-in", notices=[text])


@post("/settings/sign-in/oidc", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def save_oidc(context: ContextDependency) -> Page:
    """Save the identity provider, after its discovery document was read."""
    dependencies = context.dependencies
    keyring = dependencies.configuration.keyring
    if dependencies.oidc is not None:
        raise ConfigurationError("The identity provider is set in the environment of Punchcard. Change it there.")
    values = {name: context.field(name) for name in _OIDC_FIELDS}
    if is_masked(values["client_secret"]):
        stored = _stored_provider(context)
        values["client_secret"] = stored.client_secret if stored else ""
    try:
        settings = read_oidc_settings(**values)
        context.oidc.check(settings)
    except ConfigurationError as error:
        return _settings(context, FormErrors(fields={str(error.context.get("field", "issuer")): error.message}))
    except OidcError as error:
        return _settings(context, FormErrors(fields={"issuer": error.message}))
    with dependencies.store.unit_of_work() as work:
        store_oidc_settings(work, settings, keyring, actor=context.actor, clock=dependencies.clock)
    return context.redirect("/settings/sign-in", notices=[f"People can sign in with {settings.name} now."])


@post("/settings/sign-in/oidc/remove", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def remove_oidc(context: ContextDependency) -> Page:
    """Remove the identity provider. Sessions of people who have signed in there go on."""
    dependencies = context.dependencies
    keyring = dependencies.configuration.keyring
    with dependencies.store.unit_of_work() as work:
        store_oidc_settings(work, None, keyring, actor=context.actor, clock=dependencies.clock)
    return context.redirect("/settings/sign-in", notices=["The identity provider was removed."])


def _stored_provider(context: RequestContext) -> OidcSettings | None:
    with context.dependencies.store.reading() as work:
        return load_oidc_settings(work, context.dependencies.configuration.keyring)


def _settings(context: RequestContext, errors: FormErrors) -> Page:
    dependencies = context.dependencies
    with dependencies.store.reading() as work:
        required = bool(read_setting(work, REQUIRES_TWO_FACTOR))
        operators = list_operators(work)
        with_second_factor = operators_with_second_factor(work)
    problem = ""
    try:
        provider = dependencies.oidc or _stored_provider(context)
    except ConfigurationError as error:
        provider, problem = None, error.message
    typed = {name: context.field(name) for name in _OIDC_FIELDS} if errors else _form_values(provider)
    return context.page(
        "sign_in_settings.html",
        status=422 if errors else 200,
        errors=errors,
        required=required,
        lacking=[operator for operator in operators if operator.id not in with_second_factor],
        provider=provider,
        problem=problem,
        is_from_environment=dependencies.oidc is not None,
        redirect_uri=context.base_url + CALLBACK_PATH,
        values=typed,
        roles=list(Role),
    )


def _form_values(provider: OidcSettings | None) -> dict[str, str]:
    if provider is None:
        return dict.fromkeys(_OIDC_FIELDS, "")
    return {
        "name": provider.name,
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": mask(provider.client_secret) if provider.client_secret else "",
        "allowed_domains": " ".join(provider.allowed_domains),
        "new_users": provider.new_user_role or "",
    }


HANDLERS = (show_sign_in_settings, require_two_factor, save_oidc, remove_oidc)
