"""What the lake's errors say to people, and which of them a repair may cure."""

import pytest

from punchcard.errors import LakeError
from punchcard.lake.damage import repair_advice

DRAWN = (
    "Generic LocalFileSystem error\n          \x1b[31m↳\x1b[0m Unable to copy data to file\n"
    "           \x1b[31m↳\x1b[0m {cause}\n"
)
FULL = "No space left on device (os error 28)"


def lake_error(cause: Exception) -> LakeError:
    error = LakeError(f"The data lake at lake cannot be created: {cause}.")
    error.__cause__ = cause
    return error


def test_the_cause_is_one_plain_sentence() -> None:
    assert lake_error(ValueError(DRAWN.format(cause=FULL))).message == (
        f"The data lake at lake cannot be created: Generic LocalFileSystem error: Unable to copy data to file: {FULL}."
    )
    assert LakeError().message == "The data lake cannot be read."


@pytest.mark.parametrize(
    ("cause", "is_advised"),
    [
        (ValueError(DRAWN.format(cause=FULL)), False),
        (OSError(28, "No space left on device"), False),
        (ValueError(DRAWN.format(cause="No such file or directory (os error 2)")), True),
        (ValueError("Invalid checkpoint"), True),
    ],
    ids=["deltalake, full disk", "full disk", "deltalake, missing file", "damage"],
)
def test_no_repair_is_advised_for_a_disk_that_cannot_be_written(cause: Exception, *, is_advised: bool) -> None:
    assert bool(repair_advice(lake_error(cause))) is is_advised
