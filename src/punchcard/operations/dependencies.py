"""Dependencies of App and Public API, wired once by the serving process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from punchcard.clock import Clock
from punchcard.lake.reader import LakeReader
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import NewRecord
from punchcard.operations.live import LiveEvents
from punchcard.operations.oidc import OidcSettings
from punchcard.operations.running_configuration import RunningConfiguration
from punchcard.store.engine import Store
from punchcard.traces.browse import EventBrowser
from punchcard.traces.trace import TraceReader
from punchcard.workspace.document import mask_all_write_keys
from punchcard.workspace.editing import Edit
from punchcard.workspace.model import Workspace
from punchcard.workspace.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """Services that requests of operators read and write through.

    Attributes:
        configuration: The running configuration.
        commit: Writes records to the log, as the Tracking API does.
        config_file: Path of the config file that is applied automatically, "" for none.
        public_url: Public URL of this process, "" to use the URL of each request.
        retention_days: Days by setting, of the process: for data sets of which no operator has set a period.
        oidc: Identity provider of the environment, None to use the one that owners have entered in the App.
        hides_write_keys: True for viewers, who must not be able to send events.
    """

    store: Store
    lake: LakeReader
    traces: TraceReader
    browser: EventBrowser
    live: LiveEvents
    clock: Clock
    configuration: RunningConfiguration
    commit: GroupCommit
    config_file: str = ""
    public_url: str = ""
    retention_days: Mapping[str, int] = field(default_factory=dict)
    oidc: OidcSettings | None = None
    hides_write_keys: bool = False

    def current(self) -> Snapshot:
        """Return the compiled configuration.

        Raises:
            ConfigurationError: There is no good snapshot yet, and the stored configuration cannot be read.
            StorageError: There is no good snapshot yet, and the store is unavailable.
        """
        return self.configuration.snapshot()

    def workspace(self) -> Workspace:
        """Return the configuration as stored, with secrets in plain text.

        Raises:
            ConfigurationError: All secrets were encrypted with another key.
            StorageError: The store is unavailable.
        """
        workspace = self.configuration.workspace()
        return mask_all_write_keys(workspace) if self.hides_write_keys else workspace

    def edit_as(self, actor: str, change: Edit) -> Sequence[str]:
        """Change the configuration on behalf of an actor; return warnings about likely mistakes.

        Raises:
            ConfigurationError: The changed configuration is not valid. Nothing was changed.
            StorageError: The store cannot be written.
        """
        return self.configuration.edit(change, actor=actor)

    async def append(self, record: NewRecord) -> int:
        """Write a record to the log and return its position once it is durable.

        Raises:
            StorageError: The log is unavailable.
        """
        return await self.commit.submit(record)
