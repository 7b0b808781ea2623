"""The documentation, served without a connection to the internet, and what is new after an upgrade."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from punchcard.app.documentation import PREFIX, open_documentation
from punchcard.app.request_context import (
    PUBLIC,
    REQUIRED_ROLE,
    ContextDependency,
    Page,
    RequestContext,
    local_path,
)
from punchcard.operations.executor import run_in_executor
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError

_CHANGELOG = f"{PREFIX}/CHANGELOG"
_PICTURE_SECONDS = 3600


@get(PREFIX, opt={PUBLIC: True})
@run_in_executor
def show_index(context: ContextDependency) -> Page:
    """Show the index of the documentation, or what a search finds."""
    return _page(context, PREFIX)


@get(PREFIX + "/{path:path}", opt={PUBLIC: True})
@run_in_executor
def show_document(context: ContextDependency, path: FromPath[str]) -> Response[Any]:
    """Show a page of the documentation, or a picture of it."""
    link = f"{PREFIX}/{path.strip('/')}"
    if link.endswith(".png"):
        picture = open_documentation().read_picture(link)
        if picture is None:
            raise NotFoundError("The documentation has no such picture.")
        headers = {"Cache-Control": f"private, max-age={_PICTURE_SECONDS}"}
        return Response(picture, media_type="image/png", headers=headers)
    if (page := open_documentation().find_folder(link)) is not None:
        return context.redirect(page)
    return _page(context, link.removesuffix(".md"))


@get("/whats-new", opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def show_news(context: ContextDependency) -> Page:
    """Open the changelog, and do not offer it again until the next upgrade."""
    context.note_version()
    return context.redirect(_CHANGELOG)


@post("/whats-new", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def dismiss_news(context: ContextDependency) -> Page:
    """Stay on the page, and do not offer the changelog again until the next upgrade."""
    context.note_version()
    return context.redirect(local_path(context.field("back")))


def _page(context: RequestContext, link: str) -> Page:
    documentation = open_documentation()
    document = documentation.find(link)
    if document is None:
        raise NotFoundError(
            "The documentation has no such page."
            if documentation.paths
            else "This installation has no documentation. Install Punchcard from its wheel."
        )
    search = context.query("q")
    return context.page(
        "documentation.html",
        document=document,
        navigation=documentation.navigation,
        link=link,
        search=search,
        results=documentation.search(search) if search else (),
    )


HANDLERS = (show_index, show_document, show_news, dismiss_news)
