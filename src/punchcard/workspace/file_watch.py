"""Hot reload: applies a changed config file without a restart."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError, StorageError
from punchcard.workspace.document import Catalog
from punchcard.workspace.file import derived_keys, read_bytes, read_content, read_referenced
from punchcard.workspace.model import Workspace
from punchcard.workspace.plan import Change
from punchcard.workspace.telemetry import WorkspaceTelemetry


class FileWatch:
    """Applies a config file at startup and whenever its content has changed. Not thread-safe.

    Args:
        path: Config file.
        apply: Applies a workspace as the running configuration.
        environment: Values for `${ENV_NAME}` in the file.
        confirm: Called with a workspace and its derived keys before it is applied. It raises a ConfigurationError for
            changes that need a confirmation: the file is then not applied until it is changed.
        report: Called with the reason why the file was not applied, None if it was.
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
        self._referenced = b""  # files that the config file refers to, as they were read last

    def apply_now(self) -> Sequence[Change]:
        """Apply the file immediately; used at startup, which fails if the file is invalid.

        A file that needs a confirmation changes nothing: the stored configuration stays in use.

        Raises:
            ConfigurationError: The file is not valid.
            StorageError: The store cannot be written.
        """
        content = read_bytes(self._path)
        workspace = self._workspace(content)
        changes = self._applied(workspace, content)
        self._handled = self._seen = content
        self._referenced = read_referenced(content, self._path)
        return changes

    def poll(self) -> Sequence[Change]:
        """Apply the file if it has changed. An invalid file is logged once and changes nothing.

        A change is applied when two polls read the same content: half of a file that is being written may be valid
        TOML, and would remove what is in the other half. If the store is unavailable, the next poll tries again.
        """
        # Comparing a file of this size costs as little as reading its modification time, which may be wrong.
        try:
            content: bytes | str = read_bytes(self._path)
        except ConfigurationError as error:
            content = error.message
        referenced = read_referenced(content, self._path) if isinstance(content, bytes) else b""
        is_stable = content == self._seen and referenced == self._referenced
        if not is_stable and referenced != self._referenced:
            self._handled = b""  # read the file again, once what it refers to no longer changes
        self._seen, self._referenced = content, referenced
        if not is_stable or content == self._handled:
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
            raise ConfigurationError(content)  # the error of reading the file
        return read_content(content, str(self._path), environment=self._environment, catalog=self._catalog)
