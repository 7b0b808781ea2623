"""The objects of a lake on S3: read, written, listed and deleted, each with one request where S3 has one for it.

Credentials, endpoint and region come from the usual `AWS_*` variables of the process. Objects are addressed by path
(`endpoint/bucket/key`), so any S3-compatible server can be used. No object is uploaded in parts: an upload that is cut
off leaves nothing behind.
"""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from punchcard.errors import ConfigurationError, LakeError
from punchcard.lake.urls import split_lake_url

if TYPE_CHECKING:
    from obstore.store import S3Store

OBJECT_STORE_UNAVAILABLE = "object_store_unavailable"
"""Code of the error when the object store does not perform a request: nothing of the lake is damaged."""

OBJECT_STORE_MESSAGE_BEGIN = "The object store of the data lake"
"""How the message of that error begins."""

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
_BUCKET = re.compile(r"[a-zA-Z0-9._-]{3,255}")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_REMEDIES = {
    "SignatureDoesNotMatch": "does not accept the secret key: correct AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "does not know the access key: correct AWS_ACCESS_KEY_ID",
    "XAdminUserNotFound": "does not know the access key: correct AWS_ACCESS_KEY_ID",  # versitygw
    "ExpiredToken": "does not accept the session token, which has expired: renew AWS_SESSION_TOKEN",
    "InvalidToken": "does not accept the session token: correct AWS_SESSION_TOKEN",
    "AccessDenied": "denies access: allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject on its objects, for AWS_ACCESS_KEY_ID",
    "NoSuchBucket": "has no such bucket: create it, or correct PUNCHCARD_LAKE_URL and AWS_ENDPOINT_URL",
    "RequestTimeTooSkewed": "rejects the time of this machine: set its clock",
    "AuthorizationHeaderMalformed": "expects another region: correct AWS_REGION",
    "PermanentRedirect": "expects another region: correct AWS_REGION",
    "NotImplemented": "does not support conditional writes (If-None-Match), which the lake needs: use another one",
    "SlowDown": "is overloaded; requests are repeated until it is not",
}


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
                return bytes(obstore.get(self._reads, path).bytes())
            except FileNotFoundError as error:
                if not _is_missing_object(error):
                    raise
                return None

    def read_all(self, paths: Sequence[str]) -> "list[bytes | None]":
        """Return the contents of small objects, read several at once."""
        if not paths:
            return []
        with ThreadPoolExecutor(min(_REQUESTS_AT_ONCE, len(paths))) as pool:
            return list(pool.map(self.read, paths))

    def read_range(self, path: str, *, start: int, length: int) -> bytes:
        """Return a part of an object.

        Raises:
            LakeError: Also if there is no such object.
        """
        import obstore

        with self._request():
            try:
                return bytes(obstore.get_range(self._reads, path, start=start, length=length))
            except FileNotFoundError as error:
                raise LakeError(f"The data lake at {self.url} cannot be read: {path} is missing.") from error

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

        Args:
            after: Only objects with a path behind this one.
        """
        import obstore

        with self._request():
            for part in obstore.list(self._small, prefix=folder or None, offset=after):
                for item in part:
                    yield StoredObject(path=item["path"], bytes=item["size"], modified=item["last_modified"])

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, a thousand per request; those that do not exist are ignored."""
        import obstore

        with self._request():
            try:
                if paths:
                    obstore.delete(self._small, [*paths])
            except FileNotFoundError as error:
                if not _is_missing_object(error):
                    raise

    @contextmanager
    def _request(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> LakeError:
        """Return the error that says what an operator can do; nothing of a response but its code is in it."""
        text = str(error)
        code, status = _CODE.search(text), _STATUS.search(text)
        remedy = _REMEDIES.get(code[1]) if code else None
        if remedy is None and status is not None:
            what = f"{status[1]} {code[1]}" if code else status[1]
            remedy = (
                f"denies access ({what}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their permissions"
                if status[1] in ("401", "403")
                else f"responds with {what}; requests are repeated until it does not"
            )
        if remedy is None:
            remedy = (
                f"cannot be reached ({_cause(text)}): check AWS_ENDPOINT_URL and the network. Requests are repeated "
                "until it can"
            )
        return LakeError(f"{OBJECT_STORE_MESSAGE_BEGIN} at {self.url} {remedy}.", code=OBJECT_STORE_UNAVAILABLE)


def _is_missing_object(error: FileNotFoundError) -> bool:
    """Return False if something else than the object is missing, such as the bucket or the account."""
    code = _CODE.search(str(error))
    return code is None or code[1] == "NoSuchKey"


def _cause(text: str) -> str:
    """Return the last clause of the first line of an error, without URLs."""
    line = text.partition("\n")[0]
    return re.sub(r"\s*\(?https?://\S+\)?", "", line.rpartition(" - ")[2]).strip() or "no response"
