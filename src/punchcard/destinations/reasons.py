"""A reason code with what it means and what to do about it: given by the core and by destinations."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Codes that mean the same; the texts are Markdown, for people."""

    codes: tuple[str, ...]
    means: str
    do: str


def reason(codes: str, means: str, do: str) -> Reason:
    """Return the reason of these codes.

    Args:
        codes: Space-separated.
        means: What happened.
        do: What a person should do about it.
    """
    return Reason(codes=tuple(codes.split()), means=means, do=do)
