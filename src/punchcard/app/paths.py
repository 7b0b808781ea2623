"""Paths of the App's pages, with quoted segments and query values."""

from urllib.parse import quote, urlencode

from punchcard.workspace.computations import OWN_SOURCES


def page_path(*segments: object, **query: object) -> str:
    """Return the path of a page of the App.

    Args:
        segments: Parts of the path, such as "destinations" and a slug. Any text is allowed: it is quoted.
        query: Values of the query string. None and the empty text are omitted.
    """
    path = "/" + "/".join(quote(str(segment), safe="") for segment in segments)
    values = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(values, quote_via=quote, safe=',')}" if values else path


def source_path(slug: str) -> str:
    """Return the path of a source's page; events of Engage lead to the list of audiences."""
    return "/audiences" if is_own_source(slug) else page_path("sources", slug)


def is_own_source(slug: str) -> bool:
    """Return True if Engage sends the events of a source."""
    return slug.startswith(OWN_SOURCES)
