"""What `GET /health/ready` says beside "ready": what of the stored configuration cannot be used."""

from typing import TypedDict

from punchcard.errors import PunchcardError
from punchcard.workspace.snapshot import PartProblem, SnapshotWatch


class ReadinessProblem(TypedDict):
    """One thing that does not work while events are accepted.

    `code` is stable; `kind` and `slug` name the part of the configuration, `slug` is empty for the workspace itself.
    """

    code: str
    kind: str
    slug: str
    message: str


def read_problems(watch: SnapshotWatch) -> list[ReadinessProblem]:
    """Return what an operator must correct. No token guards it, so it names parts and shows nothing that they hold."""
    try:
        return [_shown(problem) for problem in watch.current().problems()]
    except PunchcardError as error:
        message = "The configuration cannot be used. Events are accepted and wait. `punchcard check` says why."
        return [ReadinessProblem(code=error.code, kind="workspace", slug="", message=message)]


def _shown(problem: PartProblem) -> ReadinessProblem:
    consequence = {
        "destination": "Its events are held, nothing is delivered.",
        "computation": "It is not computed, and destinations are not updated.",
        "source": "It is used as far as it can be read.",
        "workspace": "The events of all destinations are held.",
    }[problem.kind]
    name = f"{problem.kind.capitalize()} {problem.slug}".rstrip()
    message = f"{name} cannot be used as it is stored. {consequence} `punchcard check` says why."
    return ReadinessProblem(code=f"{problem.kind}_invalid", kind=problem.kind, slug=problem.slug, message=message)
