"""The response of `GET /health/ready`: whether events are accepted durably, and which parts cannot be used."""

from collections.abc import Callable
from typing import TypedDict

from punchcard.clock import to_iso
from punchcard.errors import PunchcardError
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog
from punchcard.log.write_proof import WriteProof
from punchcard.routing.log_guard import LogGuard
from punchcard.store.engine import Store
from punchcard.store.routing.lake_status import read_lake_status
from punchcard.workspace.snapshot import PartProblem, SnapshotWatch


class ReadinessProblem(TypedDict):
    """A problem that does not keep events from being accepted.

    `code` is stable; `kind` and `slug` name the part of the configuration, `slug` is empty for the workspace itself.
    """

    code: str
    kind: str
    slug: str
    message: str


class Readiness:
    """Whether a serving process accepts events.

    Args:
        guard: Refuses events if log and store do not belong together.
        lake_elsewhere: Returns why the lake of this process is not the one that is written, "" if it is.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: EventLog,
        guard: LogGuard,
        watch: SnapshotWatch,
        commit: GroupCommit,
        lake_elsewhere: Callable[[], str],
    ) -> None:
        self._store = store
        self._log = log
        self._guard = guard
        self._watch = watch
        self._commit = commit
        self._store_proof = WriteProof(store.ping)
        self._lake_elsewhere = lake_elsewhere

    def read(self) -> dict[str, object]:
        """Return the members of the response.

        Raises:
            PunchcardError: Events are not accepted durably.
        """
        if refusal := self._guard.refusal or self._commit.proof.failure():
            raise refusal
        self._log.identity()  # it may be on another server than the store
        if refusal := self._store_proof.failure():
            raise refusal
        lake = self._lake_state()
        problems = read_problems(self._watch)
        return {"status": "ready"} | ({"problems": problems} if problems else {}) | lake

    def _lake_state(self) -> dict[str, object]:
        """Return a member about the lake if it cannot be used; events are accepted and awarded anyway."""
        if elsewhere := self._lake_elsewhere():
            return {"lake": {"status": "elsewhere", "message": elsewhere}}
        with self._store.reading() as work:
            status = read_lake_status(work)
        if status.failing_since is None:
            return {}
        return {"lake": {"status": "unavailable", "since": to_iso(status.failing_since)}}


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
