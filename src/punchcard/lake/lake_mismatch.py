"""A lake that is not the one that the worker writes, as on a machine that does not share its folder."""

from punchcard.errors import LakeError

LAKE_ELSEWHERE = "lake_elsewhere"
"""Code of the error."""


def refuse_lake_elsewhere(url: str, *, last: int, expected: int) -> None:
    """Refuse a lake that ends before the writer's: an event that is missing in it is not one that was never received.

    Args:
        url: Where the lake is.
        last: The last log position that it holds.
        expected: The log position through which the lake was written, read before `last`.

    Raises:
        LakeError: It is another folder than the writer's.
    """
    if last < expected:
        raise LakeError(
            f"The data lake at {url} ends at log position {last}, and the worker has written its lake through "
            f"{expected}: that is another lake. Set PUNCHCARD_LAKE_URL to the worker's lake: s3://bucket/prefix, or a "
            "folder that this machine can read.",
            code=LAKE_ELSEWHERE,
        )
