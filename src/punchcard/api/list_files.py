"""Any list as a file: the pages of a list that has no export of its own, as rows of CSV or Parquet."""

import asyncio
import typing
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from punchcard.api.errors import bad_request
from punchcard.api.files import read_format
from punchcard.api.paging import COUNT_MAX
from punchcard.errors import StorageError
from punchcard.events.times import read_time
from punchcard.operations.downloads import FileStream
from punchcard.operations.export_files import ExportFormat, file_name, write_export
from punchcard.operations.exports import Column, Export, Kind

ASGI_SCOPE: Final = "punchcard.asgi_scope"
"""Key of a request's scope: the scope as the API received it, before the framework added to it."""

FOR_FILE: Final = "punchcard.for_file"
"""Key of a request's scope: whether its response becomes a file, in which write keys are masked for everybody."""

_FORMAT: Final = "format"
_PAGING: Final = ("count", "cursor", "pagination[count]", "pagination[cursor]")
_BESIDE_ROWS: Final = frozenset({"pagination", "total"})
_INSTANTS: Final = ("At", "since", "Since", "until", "timestamp")  # how names of times end


@dataclass(frozen=True, kw_only=True)
class ListShape:
    """What a list returns.

    Attributes:
        member: The member of `data` that has the rows; None if it is the only one.
        row: The type of a row; None if rows have no members of their own, such as texts.
    """

    member: str | None
    row: type[msgspec.Struct] | None


@dataclass(frozen=True)
class _Page:
    rows: Sequence[Any]
    next: str | None


class _RefusedError(Exception):
    """The call did not return a page but this response."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def list_shape(handler: HTTPRouteHandler) -> ListShape | None:
    """Return the shape of the list that a call returns, None if it returns something else."""
    data = _value_type(handler.parsed_fn_signature.return_type.annotation)
    if isinstance(data, type) and issubclass(data, msgspec.Struct):
        members = [field for field in msgspec.structs.fields(data) if field.name not in _BESIDE_ROWS]
        if len(members) != 1:
            return None
        member, rows = members[0].encode_name, members[0].type
    else:
        member, rows = None, _value_type(data)
    if typing.get_origin(rows) is not list:
        return None
    (row,) = typing.get_args(rows)
    return ListShape(member=member, row=row if isinstance(row, type) and issubclass(row, msgspec.Struct) else None)


def has_own_export(handler: HTTPRouteHandler) -> bool:
    """Return whether a call itself reads the parameter `format`."""
    return "format_" in handler.parsed_fn_signature.parameters


def list_paths(app: Litestar) -> Iterator[tuple[str, ListShape]]:
    """Yield the path of each list without an export of its own, with parameters in braces, and its shape."""
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if "GET" in handler.http_methods and not has_own_export(handler) and (shape := list_shape(handler)):
                yield route.path_format, shape


async def return_list_as_file(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """Return the response to a request for a list as a file; None for any other request, which its handler answers.

    Raises:
        HTTPException: There is no such format, or the call does not return a list.
        StorageError: The list cannot be read. If that happens later, the connection is closed before the file is whole.
    """
    handler = request.route_handler
    if request.method != "GET" or not isinstance(handler, HTTPRouteHandler) or has_own_export(handler):
        return None
    format = read_format(request, request.query_params.get(_FORMAT))
    if format is None:
        return None
    shape = list_shape(handler)
    if shape is None:
        if _FORMAT in request.query_params:
            raise bad_request("This call does not return a list, so it returns no file.", _FORMAT)
        return None
    try:
        if any(name in request.query_params for name in _PAGING):
            await _fetch(request, shape, _own_paging(request))  # refuses what is not allowed; a file has all pages
        first = await _fetch(request, shape, _paging(None))
    except _RefusedError as refused:
        return Response(refused.body, status_code=refused.status, media_type="application/json")
    name = request.url.path.removeprefix("/api/")
    export_of_pages = _exporter(name, shape)
    return FileStream(
        _pieces(request, shape, first, export_of_pages, format),
        media_type=format.media_type,
        headers={"Content-Disposition": f'attachment; filename="{file_name(export_of_pages(iter(())), format)}"'},
    )


def _exporter(name: str, shape: ListShape) -> Callable[[Iterator[Sequence[Any]]], Export]:
    if shape.row is not None:
        columns = [_column(field.encode_name, field.type) for field in msgspec.structs.fields(shape.row)]
    else:
        columns = [Column(name=shape.member or "value", read=_text)]
    return lambda pages: Export(name=name, columns=columns, pages=pages)


def _column(name: str, type_: object) -> Column:
    types = typing.get_args(type_) or (type_,)
    if name.endswith(_INSTANTS) and str in types:
        return Column(name=name, read=lambda row: _instant(row.get(name)), kind=Kind.INSTANT)
    if int in types and not {str, float} & set(types):
        return Column(name=name, read=lambda row: row.get(name), kind=Kind.INTEGER)
    return Column(name=name, read=lambda row: _text(row.get(name)))


def _instant(value: object) -> datetime | None:
    return read_time(value) if isinstance(value, str) else None


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


async def _pieces(
    request: Request[Any, Any, Any],
    shape: ListShape,
    page: _Page,
    export_of_pages: Callable[[Iterator[Sequence[Any]]], Export],
    format: ExportFormat,
) -> AsyncIterator[bytes]:
    """Yield a file piece by piece: the writer takes one page for each piece, and ends when none was added."""
    queued = deque([page.rows])
    written = write_export(export_of_pages(_take_all(queued)), format)
    while (piece := await asyncio.to_thread(next, written, None)) is not None:
        yield piece
        if page.next is not None:
            try:
                page = await _fetch(request, shape, _paging(page.next))
            except _RefusedError as refused:
                raise StorageError(f"A page of the list could not be read: {refused.body.decode()}") from refused
            queued.append(page.rows)


def _take_all(queued: deque[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    while queued:
        yield queued.popleft()


def _query(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    request_scope: Any = request.scope
    return parse_qsl(request_scope[ASGI_SCOPE]["query_string"].decode("latin-1"), keep_blank_values=True)


def _own_paging(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in _query(request) if name in _PAGING]


def _paging(cursor: str | None) -> list[tuple[str, str]]:
    """Return the parameters of a page, under both names that lists use."""
    values = [("count", str(COUNT_MAX)), *([("cursor", cursor)] if cursor is not None else [])]
    return [*values, *((f"pagination[{name}]", value) for name, value in values)]


async def _fetch(request: Request[Any, Any, Any], shape: ListShape, paging: list[tuple[str, str]]) -> _Page:
    """Call the list itself for a page, with the filters and the token of the request.

    Raises:
        _RefusedError: It responds with an error.
    """
    request_scope: Any = request.scope
    asgi_scope: dict[str, Any] = request_scope[ASGI_SCOPE]
    filters = [(name, value) for name, value in _query(request) if name not in (*_PAGING, _FORMAT)]
    headers = [(name, value) for name, value in asgi_scope["headers"] if name != b"accept"]
    status, body = 500, bytearray()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body.extend(message.get("body", b""))

    query_string = urlencode([*filters, *paging]).encode()
    scope: Any = {**asgi_scope, "query_string": query_string, "headers": headers, FOR_FILE: True}
    scope["state"] = {}  # the framework keeps there what it has read of a request
    scope[ASGI_SCOPE] = dict(scope)
    await request.app(scope, receive, send)
    if status != 200:
        raise _RefusedError(status, bytes(body))
    data = msgspec.json.decode(body)["data"]
    rows = data[shape.member] if shape.member is not None else next(iter(data.values()))
    pagination = data.get("pagination") or {}
    return _Page(rows, pagination.get("next"))


def _value_type(annotation: Any) -> Any:
    """Return the type of the values of `dict[str, T]`, None for anything else."""
    return typing.get_args(annotation)[1] if typing.get_origin(annotation) is dict else None
