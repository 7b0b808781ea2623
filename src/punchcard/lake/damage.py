"""Which failures of the lake a repair may cure."""

import errno
import re
from typing import Final

from punchcard.errors import LakeError, StorageError

REPAIR_COMMAND: Final = "punchcard lake repair"

# A folder or disk that cannot be used: nothing in the lake is damaged.
_OF_THE_MACHINE: Final = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EPERM, errno.EROFS}
)


_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")


def may_be_damaged(error: StorageError) -> bool:
    """Return whether a repair may help; False for a lake that is away or elsewhere, and for errors of other storage."""
    if not isinstance(error, LakeError) or error.code != LakeError.code:
        return False
    return _errno_of(error.__cause__) not in _OF_THE_MACHINE


def _errno_of(cause: BaseException | None) -> int | None:
    """Return the number of the system's error; deltalake has it only in its text."""
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno
    match = _OS_ERROR.search(str(cause))
    return int(match[1]) if match else None


def repair_advice(error: StorageError) -> str:
    """Return the sentence that follows an error of the lake, "" if its message says what to do."""
    if REPAIR_COMMAND in error.message or not may_be_damaged(error):
        return ""
    return f"Run `{REPAIR_COMMAND}` to repair it."
