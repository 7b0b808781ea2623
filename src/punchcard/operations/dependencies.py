"""What App and Public API work with, wired once by the serving process."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from punchcard.clock import Clock
from punchcard.lake.reader import LakeReader
from punchcard.log.port import NewRecord
from punchcard.operations.live import LiveEvents
from punchcard.store.engine import Store
from punchcard.traces.browse import EventBrowser
from punchcard.traces.trace import TraceReader
from punchcard.workspace.model import Workspace
from punchcard.workspace.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What operators' requests read and write through.

    Attributes:
        current: The configuration as it stands in the store, compiled.
        workspace: The same to look at and to edit, secrets in plain text.
        edit_as: Changes it by a function of it, in somebody's name; returns what whoever saves it should know.
        config_file: The file that the configuration is applied from again, "" if none is.
        public_url: As senders and browsers reach this process, "" if only their requests say it.
        append: Makes one request durable in the log, as the Tracking API does.
    """

    store: Store
    lake: LakeReader
    traces: TraceReader
    browser: EventBrowser
    live: LiveEvents
    clock: Clock
    current: Callable[[], Snapshot]
    workspace: Callable[[], Workspace]
    edit_as: Callable[[Callable[[Workspace], Workspace], str], Sequence[str]]
    append: Callable[[NewRecord], Awaitable[int]]
    config_file: str = ""
    public_url: str = ""
