"""What failed requests to the object store mean to an operator.

The client gives all of its errors as texts. What they say is recognized here: a code of S3, a status, or the way in
which a response is not one of S3.
"""

import re
from typing import Final

from punchcard.errors import LakeError

OBJECT_STORE_UNAVAILABLE: Final = "object_store_unavailable"
"""Code of the error when the object store does not perform a request: nothing of the lake is damaged."""

OBJECT_STORE_MESSAGE_BEGIN: Final = "The object store of the data lake"
"""How the message of that error begins."""

_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_URL: Final = re.compile(r"\s*\(?https?://\S+\)?")
_OTHER_REGION: Final = "expects another region: correct AWS_REGION, and AWS_ENDPOINT_URL if it names one"
_REMEDIES: Final = {
    "SignatureDoesNotMatch": "does not accept the secret key: correct AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "does not know the access key: correct AWS_ACCESS_KEY_ID",
    "XAdminUserNotFound": "does not know the access key: correct AWS_ACCESS_KEY_ID",  # versitygw
    "ExpiredToken": "does not accept the session token, which has expired: renew AWS_SESSION_TOKEN",
    "InvalidToken": "does not accept the session token: correct AWS_SESSION_TOKEN",
    "AccessDenied": "denies access: allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject on its objects, for AWS_ACCESS_KEY_ID",
    "NoSuchBucket": "has no such bucket: create it, or correct PUNCHCARD_LAKE_URL and AWS_ENDPOINT_URL",
    "RequestTimeTooSkewed": "rejects the time of this machine: set its clock",
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "PermanentRedirect": _OTHER_REGION,
    "TemporaryRedirect": _OTHER_REGION,
    "NotImplemented": "does not support conditional writes (If-None-Match), which the lake needs: use another one",
    "SlowDown": "is overloaded: raise its limits, or try again later",
}
_NOT_S3: Final = (
    "does not respond as S3 does ({what}): correct AWS_ENDPOINT_URL, which may lead to another server, or to a page "
    "for signing in"
)
_CUT: Final = "sends responses that are cut off: check the network, and the proxies in between"
# What the client says of a response that it cannot use, in lower case, and what that means.
_RESPONSES: Final = {
    "redirect without location": _OTHER_REGION,
    "following redirect": _NOT_S3.format(what="it redirects requests"),
    "response body error": _CUT,
    "end of file before message length": _CUT,
    "invalid list response": _NOT_S3.format(what="its list of objects cannot be read"),
    "missing from response": _NOT_S3.format(what="its responses lack headers"),
    "extract metadata from headers": _NOT_S3.format(what="its responses lack headers"),
    "non-partial response": _NOT_S3.format(what="it sends whole objects in place of parts"),
    "certificate": "has a certificate that is not trusted, or of another name: correct AWS_ENDPOINT_URL, or the "
    "trusted certificates of this machine",
}


def object_store_failure(error: Exception, url: str) -> LakeError:
    """Return the error that says what an operator can do; nothing of a response but its code is in it.

    Args:
        error: What the client has raised.
        url: Of the lake.
    """
    return _error(url, _remedy(str(error)))


def not_s3(what: str, url: str) -> LakeError:
    """Return the error for a server that does not respond as S3 does.

    Args:
        what: What it does in place of it, without a full stop.
    """
    return _error(url, _NOT_S3.format(what=what))


def spoiled_response(path: str, url: str, *, received: int, stored: int) -> LakeError:
    """Return the error for a response with other bytes than the object has.

    Args:
        received: The number of bytes in the response.
        stored: The number of bytes that the object has.
    """
    return _error(
        url,
        f"has {stored:,} bytes of {path} and sends {received:,}: check what is between this machine and it, such as a "
        "proxy or a gateway. Nothing is damaged",
    )


def is_missing_object(error: FileNotFoundError) -> bool:
    """Return False if something else than the object is missing, such as the bucket, the account or all of S3.

    Only a response without a body says no code, and that to a request of a body is not one of S3.
    """
    code = _CODE.search(str(error))
    return code is not None and code[1] == "NoSuchKey"


def _error(url: str, remedy: str) -> LakeError:
    return LakeError(f"{OBJECT_STORE_MESSAGE_BEGIN} at {url} {remedy}.", code=OBJECT_STORE_UNAVAILABLE)


def _remedy(text: str) -> str:
    code, status = _CODE.search(text), _STATUS.search(text)
    if code is not None and (remedy := _REMEDIES.get(code[1])) is not None:
        return remedy
    if status is not None:
        return _remedy_of_status(status[1], code[1] if code else "")
    lower = _URL.sub("", text).lower()
    for words, remedy in _RESPONSES.items():
        if words in lower:
            return remedy
    cause = _cause(text)
    return f"cannot be reached ({cause}): check AWS_ENDPOINT_URL and the network"


def _remedy_of_status(status: str, code: str) -> str:
    what = f"{status} {code}".strip()
    if status in ("401", "403"):
        return f"denies access ({what}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their permissions"
    if not code and status.startswith("4"):
        return _NOT_S3.format(what=f"{what} without a code of S3")
    return f"responds with {what}: check it, and the proxies in between"


def _cause(text: str) -> str:
    """Return the last clause of the first line of an error, without URLs."""
    line = text.partition("\n")[0]
    return _URL.sub("", line.rpartition(" - ")[2]).strip() or "no response"
