"""Files that commands write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_ANYBODY = 0o666  # less what the process's umask takes away


@contextmanager
def whole_file(path: Path, *, mode: int = _ANYBODY) -> Iterator[BinaryIO]:
    """Yield a file to write, which appears under its name only once it is whole; a device or a pipe is written to.

    Args:
        mode: Permissions of the file.

    Raises:
        OSError: It cannot be written. A file of that name is as it was before.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
        return
    target = path.resolve()  # a link stays one
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
