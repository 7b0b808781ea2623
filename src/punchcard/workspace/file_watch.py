"""Hot reload: a changed config file becomes the running configuration without a restart."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError, StorageError
from punchcard.workspace.document import Catalog
from punchcard.workspace.file import derived_keys, read_bytes, read_content
from punchcard.workspace.model import Workspace
from punchcard.workspace.plan import Change
from punchcard.workspace.telemetry import WorkspaceTelemetry


class FileWatch:
    """Applies a config file at the start and whenever its content has changed. One thread at a time.

    Args:
        path: The config file.
        apply: Makes a workspace the running one.
        environment: Values for `${ENV_NAME}` in the file.
        confirm: Called with a workspace and the keys in it that are made of names, before it is applied. It raises a
            ConfigurationError for what nobody is there to confirm: the file then waits until it is changed.
        report: Called with why the file was not applied, None if it was.
    """

    def __init__(
        self,
        path: Path,
        apply: Callable[[Workspace], Sequence[Change]],
        *,
        environment: Mapping[str, str],
        catalog: Catalog = CATALOG,
        confirm: Callable[[Workspace, Collection[str]], None] | None = None,
        report: Callable[[ConfigurationError | None], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._confirm = confirm
        self._report = report
        self._apply = apply
        self._environment = environment
        self._catalog = catalog
        self._telemetry = WorkspaceTelemetry()
        self._handled: bytes | str = b""
        self._seen: bytes | str = b""

    def apply_now(self) -> Sequence[Change]:
        """Apply the file as it is, for a start that shall fail if the file is wrong.

        A file that has to be confirmed changes nothing: awards go on by the configuration before it.

        Raises:
            ConfigurationError: the file is not valid.
            StorageError: the store cannot be written.
        """
        content = read_bytes(self._path)
        workspace = self._workspace(content)
        changes = self._applied(workspace, content)
        self._handled = self._seen = content
        return changes

    def poll(self) -> Sequence[Change]:
        """Apply the file if it has changed; a broken one is told once and changes nothing.

        A change counts when two polls see the same content: half of a file that is being written may be valid TOML,
        and would remove what stands in its other half. A store that is away is tried again at the next poll.
        """
        # A file of this size is compared as fast as its time is asked for, and its time may lie.
        try:
            content: bytes | str = read_bytes(self._path)
        except ConfigurationError as error:
            content = error.message
        settled, self._seen = content == self._seen, content
        if not settled or content == self._handled:
            return ()
        try:
            workspace = self._workspace(content)
            changes = self._applied(workspace, content)
        except ConfigurationError as error:
            self._telemetry.config_file_refused(path=str(self._path), reason=error.message)
            self._report_safely(error)
            changes = ()
        except StorageError as error:
            self._telemetry.config_file_postponed(path=str(self._path), reason=error.message)
            return ()
        self._handled = content
        return changes

    def _applied(self, workspace: Workspace, content: bytes | str) -> Sequence[Change]:
        """Apply a workspace, unless somebody has to confirm it first; then nothing is changed."""
        if self._confirm is not None and not isinstance(content, str):
            try:
                self._confirm(workspace, derived_keys(content, environment=self._environment))
            except ConfigurationError as error:
                self._telemetry.config_file_unconfirmed(path=str(self._path), reason=error.message)
                self._report(error)
                return ()
        changes = self._apply(workspace)
        self._report(None)
        return changes

    def _report_safely(self, error: ConfigurationError) -> None:
        try:
            self._report(error)
        except StorageError as away:
            self._telemetry.config_file_postponed(path=str(self._path), reason=away.message)

    def _workspace(self, content: bytes | str) -> Workspace:
        if isinstance(content, str):
            raise ConfigurationError(content)  # what reading it said
        return read_content(content, str(self._path), environment=self._environment, catalog=self._catalog)
