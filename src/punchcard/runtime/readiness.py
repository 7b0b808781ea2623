"""The problems in the response of `GET /health/ready`: parts of the stored configuration that cannot be used."""

from typing import TypedDict

from punchcard.errors import PunchcardError
from punchcard.workspace.snapshot import PartProblem, SnapshotWatch


class ReadinessProblem(TypedDict):
    """A problem that does not keep events from being accepted.

    `code` is stable; `kind` and `slug` name the part of the configuration, `slug` is empty for the workspace itself.
    """

    code: str
    kind: str
    slug: str
    message: str


def read_problems(watch: SnapshotWatch) -> list[ReadinessProblem]:
    """Return what an operator must correct. It needs no token, so it names parts without their content."""
    try:
        return [_describe(problem) for problem in watch.current().problems()]
    except PunchcardError as error:
        message = "The configuration cannot be used. Events are accepted and wait. Run `punchcard check` for details."
        return [ReadinessProblem(code=error.code, kind="workspace", slug="", message=message)]


def _describe(problem: PartProblem) -> ReadinessProblem:
    consequence = {
        "alert_channel": "It sends no notices.",
        "tracking_plan": "Events are not compared with it.",
        "transformation": "The events that it concerns are not processed until it is corrected.",
        "destination": "Its events are held, nothing is delivered.",
        "computation": "It is not computed, and destinations are not updated.",
        "source": "It is used as far as it can be read.",
        "workspace": "The events of all destinations are held.",
    }[problem.kind]
    name = f"{problem.kind.replace('_', ' ').capitalize()} {problem.slug}".rstrip()
    message = f"{name} cannot be used as it is stored. {consequence} Run `punchcard check` for details."
    return ReadinessProblem(code=f"{problem.kind}_invalid", kind=problem.kind, slug=problem.slug, message=message)
