"""Wires the Public API to this process's storage. Imported by its first request only: Litestar is large."""

from litestar import Litestar

from punchcard.api.app import build_api
from punchcard.api.parts import ApiParts
from punchcard.clock import SystemClock
from punchcard.lake.reader import LakeReader
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.traces.story import Stories
from punchcard.workspace.snapshot import SnapshotWatch


def build_public_api(
    settings: Settings, *, store: Store, watch: SnapshotWatch, log: EventLog, commit: GroupCommit
) -> Litestar:
    """The Public API on what the serving process has open."""
    stories = Stories(log=log, lake=LakeReader(settings.lake_location()), store=store)
    return build_api(
        ApiParts(store=store, stories=stories, clock=SystemClock(), current=watch.newest, append=commit.submit)
    )
