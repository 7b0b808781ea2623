"""What `punchcard doctor` says of one thing."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """What a diagnosis means."""

    OK = "ok"
    WARNING = "warning"  # it runs, but look at this
    PROBLEM = "problem"  # it does not run, or loses something


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A line of the report.

    Attributes:
        subject: What was looked at.
        message: What was found, in a sentence.
        remedy: What to do, "" for nothing.
    """

    subject: str
    health: Health
    message: str
    remedy: str = ""


def ok(subject: str, message: str) -> Diagnosis:
    """Return what is as it should be."""
    return Diagnosis(subject=subject, health=Health.OK, message=message)


def warning(subject: str, message: str, remedy: str) -> Diagnosis:
    """Return what runs, but needs a look."""
    return Diagnosis(subject=subject, health=Health.WARNING, message=message, remedy=remedy)


def problem(subject: str, message: str, remedy: str) -> Diagnosis:
    """Return what keeps Punchcard from running, or loses something."""
    return Diagnosis(subject=subject, health=Health.PROBLEM, message=message, remedy=remedy)
