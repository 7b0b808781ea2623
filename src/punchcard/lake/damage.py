"""Which failures of the lake a repair may cure."""

import errno
from typing import Final

from punchcard.errors import LakeError, StorageError

REPAIR_COMMAND: Final = "punchcard lake repair"

# A folder or disk that cannot be used: nothing in the lake is damaged.
_OF_THE_MACHINE: Final = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EPERM, errno.EROFS}
)


def may_be_damaged(error: StorageError) -> bool:
    """Return whether a repair may help; False for a lake that is away or elsewhere, and for errors of other storage."""
    if not isinstance(error, LakeError) or error.code != LakeError.code:
        return False
    cause = error.__cause__
    return not (isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE)


def repair_advice(error: StorageError) -> str:
    """Return the sentence that follows an error of the lake, "" if its message says what to do."""
    if REPAIR_COMMAND in error.message or not may_be_damaged(error):
        return ""
    return f"Run `{REPAIR_COMMAND}` to repair it."
