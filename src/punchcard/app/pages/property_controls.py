"""Privacy, Controls: what is dropped, masked or hashed at which source or destination; the editor with a preview."""

from typing import Final

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.pages.inventory import DONE
from punchcard.app.paths import page_path
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.control_preview import ControlPreview, preview_control
from punchcard.operations.executor import run_in_executor
from punchcard.store.access.token_store import Role
from punchcard.workspace.control_editing import (
    PropertyControl,
    list_controls,
    remove_control,
    set_control,
)
from punchcard.workspace.editing import NotFoundError, find_destination, find_source
from punchcard.workspace.part_names import name_destinations

_ALLOW: Final = "allow"
_ACTIONS: Final = {
    _ALLOW: "Allow: the value stays as it was sent",
    "mask": "Mask: at most the last four characters stay",
    "hash": "Hash: equal values have equal hashes",
    "drop": "Drop: the property is removed",
}
_FIELDS: Final = {"controls": "path", **{f"controls.{kind}": "path" for kind in DONE}}
_LIST: Final = page_path("privacy", "controls")
_OWNER: Final = {REQUIRED_ROLE: Role.OWNER}


@get("/privacy/controls")
@run_in_executor
def show_controls(context: ContextDependency) -> Page:
    """List all controls, and choose the source or destination of a new one."""
    workspace = context.dependencies.workspace()
    names = {("source", source.slug): source.name for source in workspace.sources}
    names |= {("destination", slug): name for slug, name in name_destinations(workspace.destinations).items()}
    return context.page(
        "controls.html", controls=list_controls(workspace), names=names, done=DONE, parts_by_name=sorted(names.items())
    )


@get("/privacy/controls/new", opt=_OWNER)
@run_in_executor
def choose_part(context: ContextDependency) -> Page:
    """Go to the editor of the chosen source or destination."""
    scope, _, slug = context.query("part").partition(":")
    _name_of(context, scope, slug)
    return context.redirect(page_path("privacy", "controls", scope, slug, path=context.query("path")))


@get("/privacy/controls/{kind:str}/{slug:str}", opt=_OWNER)
@run_in_executor
def show_control(context: ContextDependency, kind: FromPath[str], slug: FromPath[str]) -> Page:
    """Show the editor of the control of one property, which may have none yet."""
    path = context.query("path")
    actions = {
        control.path: control.action
        for control in list_controls(context.dependencies.workspace())
        if control.part == (kind, slug)
    }
    control = PropertyControl(scope=kind, slug=slug, path=path, action=actions.get(path, _ALLOW))
    return _editor(context, control, FormErrors())


@post("/privacy/controls/{kind:str}/{slug:str}/preview", status_code=200, opt=_OWNER)
@run_in_executor
def preview(context: ContextDependency, kind: FromPath[str], slug: FromPath[str]) -> Page:
    """Show what a control would change, before it is saved."""
    control, dependencies = _typed(context, kind, slug), context.dependencies
    if control.action == _ALLOW:
        return _editor(context, control, FormErrors(), note="With “Allow”, the value stays as it was sent.")
    try:
        result = preview_control(
            control,
            dependencies.workspace(),
            snapshot=dependencies.current(),
            lake=dependencies.lake,
            clock=dependencies.clock,
        )
    except NotFoundError:
        raise
    except ConfigurationError as error:
        return _editor(context, control, FormErrors(fields={"path": error.message}), status=422)
    return _editor(context, control, FormErrors(), result=result)


@post("/privacy/controls/{kind:str}/{slug:str}", status_code=200, opt=_OWNER)
@run_in_executor
def save(context: ContextDependency, kind: FromPath[str], slug: FromPath[str]) -> Page:
    """Save the control of a property; *allow* removes it."""
    control = _typed(context, kind, slug)
    _name_of(context, kind, slug)
    if not control.path:
        return _editor(context, control, FormErrors(fields={"path": "Enter a property."}), status=422)
    try:
        if control.action == _ALLOW:
            context.edit(remove_control(kind, slug, control.path))
        else:
            context.edit(set_control(control))
    except NotFoundError:
        return context.redirect(_LIST, notices=[f"{control.path} is allowed already."])
    except ConfigurationError as error:
        errors = form_errors_from(error, names=_FIELDS)
        return _editor(context, control, errors, status=422)
    done = DONE.get(control.action, "allowed")
    return context.redirect(_LIST, notices=[f"{control.path} is {done} from the next event on."])


def _typed(context: RequestContext, kind: str, slug: str) -> PropertyControl:
    return PropertyControl(scope=kind, slug=slug, path=context.field("path"), action=context.field("action"))


def _name_of(context: RequestContext, scope: str, slug: str) -> str:
    """Return the name of a source or destination.

    Raises:
        NotFoundError: There is none.
    """
    workspace = context.dependencies.workspace()
    if scope == "source":
        return find_source(workspace, slug).name
    if scope == "destination":
        return name_destinations(workspace.destinations)[find_destination(workspace, slug).slug]
    raise NotFoundError("Controls belong to a source or a destination.")


def _editor(
    context: RequestContext,
    control: PropertyControl,
    errors: FormErrors,
    *,
    result: ControlPreview | None = None,
    note: str = "",
    status: int = 200,
) -> Page:
    return context.page(
        "control.html",
        status=status,
        control=control,
        name=_name_of(context, control.scope, control.slug),
        actions=_ACTIONS,
        errors=errors,
        preview=result,
        note=note,
    )


HANDLERS = (show_controls, choose_part, show_control, preview, save)
