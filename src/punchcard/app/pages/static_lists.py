"""Static lists: upload a file, look at what it would do, save or discard it, and download the list."""

from typing import Any

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath

from punchcard.app.paths import page_path
from punchcard.app.request_context import TAKES_FILE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.export_files import ExportFormat
from punchcard.operations.list_uploads import (
    ID_TYPES,
    PREVIEW_ROWS,
    ListUploads,
    NewUpload,
    export_list,
    find_static_list,
    find_upload,
    is_savable,
    read_problems,
)
from punchcard.operations.request_bodies import FILE_BYTES_MAX, FileReader
from punchcard.operations.sentences import as_sentence, count_noun
from punchcard.store.engage.static_lists import ListUpload, UploadStatus, first_entries, list_uploads_of
from punchcard.workspace.model import Computation

_UPLOADS_MAX = 50
_PROBLEMS_SHOWN = 50
_PIECE_BYTES = 1 << 16
_file_reader = FileReader()


@get("/audiences/{key:str}/list")
@run_in_executor
def show_list(context: ContextDependency, key: FromPath[str]) -> Page:
    """Show the files of a static list, and the form to upload another one."""
    return _list_page(context, _find(context, key))


@post(
    "/audiences/{key:str}/uploads",
    status_code=200,
    request_max_body_size=FILE_BYTES_MAX,
    opt={TAKES_FILE: True},
)
async def upload_file(context: ContextDependency, key: FromPath[str]) -> Page:
    """Read a file; the next page shows what it would do."""
    form = await context.request.form()
    file: Any = form.get("file")

    def stage() -> Page:
        computation = _find(context, key)
        if not isinstance(file, UploadFile):
            return _list_page(context, computation, problem="Choose a CSV file.", status=422)
        new = NewUpload(
            key=computation.key,
            file_name=file.filename,
            actor=context.actor,
            column=context.field("column"),
            id_type=context.field("type"),
        )
        try:
            upload = _uploads(context).stage(new, iter(lambda: file.file.read(_PIECE_BYTES), b""))
        except ConfigurationError as error:
            return _list_page(context, computation, problem=as_sentence(error.message), status=422)
        return context.redirect(page_path("audiences", key, "uploads", upload.id))

    return await _file_reader.run(stage)


@get("/audiences/{key:str}/uploads/{upload_id:str}")
@run_in_executor
def show_upload(context: ContextDependency, key: FromPath[str], upload_id: FromPath[str]) -> Page:
    """Show what a file has and what saving it would do."""
    computation = _find(context, key)
    upload = _find_upload(context, computation, upload_id)
    with context.dependencies.store.reading() as work:
        rows = first_entries(work, upload.id, limit=PREVIEW_ROWS)
    problems = read_problems(upload)[:_PROBLEMS_SHOWN]
    return context.page(
        "list_upload.html",
        computation=computation,
        upload=upload,
        rows=rows,
        problems=problems,
        more_problems=upload.invalid_count - len(problems),
        is_savable=is_savable(upload, context.dependencies.clock),
        is_staged=upload.status is UploadStatus.STAGED,
    )


@post("/audiences/{key:str}/uploads/{upload_id:str}/save", status_code=200)
@run_in_executor
def save_upload(context: ContextDependency, key: FromPath[str], upload_id: FromPath[str]) -> Page:
    """Make a file the list, or add it."""
    computation = _find(context, key)
    upload = _find_upload(context, computation, upload_id)
    saved = _uploads(context).save(upload, context.field("mode"), actor=context.actor)
    ids = count_noun(saved.entry_count, "customer")
    done = f"added to “{computation.name}”" if saved.mode == "add" else f"saved as “{computation.name}”"
    notice = f"{saved.file_name} with {ids} was {done}. Members follow within seconds; a long list takes minutes."
    return context.redirect(page_path("audiences", key), notices=[notice])


@post("/audiences/{key:str}/uploads/{upload_id:str}/discard", status_code=200)
@run_in_executor
def discard_upload(context: ContextDependency, key: FromPath[str], upload_id: FromPath[str]) -> Page:
    """Discard a file that is not saved."""
    upload = _find_upload(context, _find(context, key), upload_id)
    _uploads(context).discard(upload, actor=context.actor)
    return context.redirect(page_path("audiences", key, "list"), notices=[f"{upload.file_name} was discarded."])


@get("/exports/lists/{key:str}")
@run_in_executor
def download_list(context: ContextDependency, key: FromPath[str]) -> Response[Any]:
    """Download the ids of a static list as CSV, whether or not somebody has them."""
    return download(export_list(context.dependencies.store, _find(context, key).key), ExportFormat.CSV)


def _list_page(context: RequestContext, computation: Computation, *, problem: str = "", status: int = 200) -> Page:
    with context.dependencies.store.reading() as work:
        uploads = list_uploads_of(work, computation.key, limit=_UPLOADS_MAX)
    return context.page(
        "static_list.html",
        status=status,
        computation=computation,
        uploads=uploads,
        savable={upload.id for upload in uploads if is_savable(upload, context.dependencies.clock)},
        is_empty=not any(upload.status is UploadStatus.ACTIVE for upload in uploads),
        id_types=ID_TYPES,
        column=context.field("column"),
        id_type=context.field("type"),
        problem=problem,
    )


def _find(context: RequestContext, key: str) -> Computation:
    return find_static_list(context.dependencies.workspace(), key)


def _find_upload(context: RequestContext, computation: Computation, upload_id: str) -> ListUpload:
    with context.dependencies.store.reading() as work:
        return find_upload(work, computation.key, upload_id)


def _uploads(context: RequestContext) -> ListUploads:
    dependencies = context.dependencies
    return ListUploads(
        dependencies.store,
        vault=dependencies.configuration.subjects,
        rules=dependencies.current().identity,
        clock=dependencies.clock,
    )


HANDLERS = (show_list, upload_file, show_upload, save_upload, discard_upload, download_list)
