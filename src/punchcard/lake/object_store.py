"""The objects of a lake on S3: read, written, listed and deleted, each with one request where S3 has one for it.

Credentials, endpoint and region come from the usual `AWS_*` variables of the process. Objects are addressed by path
(`endpoint/bucket/key`), so any S3-compatible server can be used. No object is uploaded in parts: an upload that is cut
off leaves nothing behind.
"""

import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from punchcard.errors import ConfigurationError, LakeError
from punchcard.lake.object_store_errors import is_missing_object, not_s3, object_store_failure, spoiled_response
from punchcard.lake.urls import split_lake_url

if TYPE_CHECKING:
    from obstore.store import S3Store

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# Without any of them, the credentials of the machine's role would be requested from an address that only exists in a
# cloud: elsewhere each command would wait for it. AWS_METADATA_ENDPOINT says that the address exists.
_CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
)
_CONNECT_TIMEOUT = timedelta(seconds=5)
_TIMEOUT = timedelta(seconds=15)  # of a request that transfers some kilobytes, and of each part of a response
_TRANSFER_TIMEOUT = timedelta(seconds=120)  # of a request that transfers a data file: 64 MB at 0.5 MB/s
_SMALL_BYTES = 4 * 1024 * 1024  # written within the shorter time at 0.5 MB/s
_REQUESTS_AT_ONCE = 32  # a slow store is waited for twice for all commits behind a checkpoint
_RETRIES_MAX = 2
_RETRY_TIMEOUT = timedelta(seconds=15)
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)  # what the client makes of a response without a time
_UNLISTED_MAX = 8  # a spoiled list lacks all or the newest
_BUCKET = re.compile(r"[a-zA-Z0-9._-]{3,255}")


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as listed.

    Attributes:
        path: Relative to the lake's root.
        bytes: Its size.
        modified: When it was written, by the clock of the object store.
    """

    path: str
    bytes: int
    modified: datetime


class ObjectStore:
    """The objects below `url`. Thread-safe; makes no request before it is used.

    Args:
        url: `s3://bucket/prefix`.

    Raises:
        ConfigurationError: The URL is not such a URL, the packages for S3 are not installed, or the variables are not
            set.
        LakeError: From every method, with the code `object_store_unavailable`: the request was not performed; what it
            writes may have been written nevertheless.
    """

    def __init__(self, url: str) -> None:
        parts = split_lake_url(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigurationError(
                "The URL of the data lake must be s3://bucket/prefix, without credentials and options: "
                "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL."
            )
        if not _BUCKET.fullmatch(parts.netloc):
            raise ConfigurationError(f"The URL of the data lake must be s3://bucket/prefix, not {url}.")
        self.url = url.rstrip("/")
        self._small = self._open(parts.netloc, parts.path.strip("/"), timeout=_TIMEOUT)
        self._large = self._open(parts.netloc, parts.path.strip("/"), timeout=_TRANSFER_TIMEOUT)
        # A store that accepts connections and never answers is noticed soon. Not in a write: there is nothing to read
        # before all of it is sent.
        self._reads = self._open(parts.netloc, parts.path.strip("/"), timeout=_TRANSFER_TIMEOUT, read_timeout=_TIMEOUT)

    def _open(
        self, bucket: str, prefix: str, *, timeout: timedelta, read_timeout: timedelta | None = None
    ) -> "S3Store":
        try:
            import fsspec  # type: ignore[import-untyped]  # noqa: F401  # used when DuckDB reads the lake, but missed now
            from obstore.store import S3Store
        except ImportError as error:
            raise ConfigurationError(
                f"The data lake at {self.url} needs the packages for S3: pip install 'punchcard[s3]'."
            ) from error
        if not any(os.environ.get(name) for name in _CREDENTIAL_VARIABLES):
            raise ConfigurationError(
                f"The data lake at {self.url} needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_METADATA_ENDPOINT=http://169.254.169.254 on a machine with an instance role."
            )
        endpoint = next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), "")
        try:
            return S3Store(
                bucket,
                prefix=prefix or None,
                client_options={
                    "timeout": timeout,
                    "connect_timeout": _CONNECT_TIMEOUT,
                    "read_timeout": read_timeout or timeout,
                    "allow_http": endpoint.startswith("http://"),
                },
                retry_config={"max_retries": _RETRIES_MAX, "retry_timeout": _RETRY_TIMEOUT},
                virtual_hosted_style_request=False,
            )
        except Exception as error:  # its errors have no common class
            cause = str(error).partition("\n")[0]
            raise ConfigurationError(f"The AWS_* variables cannot be used: {cause}") from error

    def read(self, path: str) -> bytes | None:
        """Return the content of an object, None if there is none."""
        import obstore

        with self._request():
            try:
                response = obstore.get(self._reads, path)
                content = bytes(response.bytes())
            except FileNotFoundError as error:
                if not is_missing_object(error):
                    raise
                return None
        # Some servers have no ETag for files that were written beside them, but all say when an object was written.
        if response.meta["e_tag"] is None and response.meta["last_modified"] <= _NO_TIME:
            raise not_s3("its responses lack headers", self.url)
        return content

    def read_all(self, objects: Sequence[StoredObject]) -> list[bytes | None]:
        """Return the contents of small objects that were listed, read several at once."""
        if not objects:
            return []
        with ThreadPoolExecutor(min(_REQUESTS_AT_ONCE, len(objects))) as pool:
            return list(pool.map(self._read_listed, objects))

    def _read_listed(self, item: StoredObject) -> bytes | None:
        content = self.read(item.path)
        if content is not None and len(content) != item.bytes:
            self.refuse_other_size(item.path, content)  # it may have been written over since it was listed
        return content

    def refuse_other_size(self, path: str, content: bytes) -> None:
        """Raise LakeError if an object has another size than what was received of it: the response was spoiled."""
        import obstore

        with self._request():
            stored = obstore.head(self._small, path)["size"]
        if len(content) != stored:
            raise spoiled_response(path, self.url, received=len(content), stored=stored)

    def read_range(self, path: str, *, start: int, length: int) -> bytes:
        """Return a part of an object.

        Raises:
            LakeError: Also if there is no such object.
        """
        import obstore

        with self._request():
            try:
                content = bytes(obstore.get_range(self._reads, path, start=start, length=length))
            except FileNotFoundError as error:
                if not is_missing_object(error):
                    raise
                raise LakeError(f"The data lake at {self.url} cannot be read: {path} is missing.") from error
        if len(content) != length:
            raise spoiled_response(path, self.url, received=len(content), stored=length)
        return content

    def exists(self, path: str) -> bool:
        """Return whether there is an object."""
        import obstore

        with self._request():
            try:
                obstore.head(self._small, path)
            except FileNotFoundError:
                return False
            return True

    def write(self, path: str, content: bytes) -> None:
        """Write an object, whether or not there is one."""
        import obstore

        with self._request():
            store = self._small if len(content) <= _SMALL_BYTES else self._large
            obstore.put(store, path, content, use_multipart=False)

    def create(self, path: str, content: bytes) -> bool:
        """Write an object unless there is one; False if there is one.

        False may also mean that this call has written it: when the response was lost, the request was repeated.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._request():
            try:
                obstore.put(self._small, path, content, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def objects(self, folder: str = "", *, after: str | None = None) -> Iterator[StoredObject]:
        """Yield the objects below a folder, a thousand per request.

        A web page in place of the list is a list without objects for the client: see `refuse_incomplete_list`.

        Args:
            after: Only objects with a path behind this one.
        """
        import obstore

        with self._request():
            for part in obstore.list(self._small, prefix=folder or None, offset=after):
                for item in part:
                    yield StoredObject(path=item["path"], bytes=item["size"], modified=item["last_modified"])

    def refuse_incomplete_list(self, paths: Iterable[str], listed: Container[str]) -> None:
        """Raise LakeError if objects are there that are missing in a list: the response was spoiled.

        Args:
            paths: Objects that should be there; the first of those that are not listed are looked for.
            listed: The paths of the list.
        """
        unlisted = (path for path in paths if path not in listed)
        for path in islice(unlisted, _UNLISTED_MAX):
            if self.exists(path):
                raise not_s3("its list lacks objects that it has", self.url)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, a thousand per request; those that do not exist are ignored."""
        import obstore

        with self._request():
            try:
                if paths:
                    obstore.delete(self._small, [*paths])
            except FileNotFoundError as error:
                if not is_missing_object(error):
                    raise

    @contextmanager
    def _request(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise object_store_failure(error, self.url) from error
