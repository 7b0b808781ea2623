"""Log events of the workspace."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from punchcard.workspace.plan import Change


@dataclass(frozen=True)
class WorkspaceTelemetry:
    """Log events of the workspace. They contain no write keys and no secrets."""

    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("punchcard.workspace"))

    def configuration_changed(self, *, revision: int, changes: Sequence[Change]) -> None:
        """A new revision of the configuration was saved."""
        parts = [f"{change.kind} {change.part} {change.slug}".rstrip() for change in changes]
        self.log.info("configuration_changed", revision=revision, parts=parts)

    def dropping_filter_saved(self, *, warning: str) -> None:
        """A filter was saved that would have dropped events that earn points."""
        self.log.warning(
            "filter_drops_mapped_events",
            detail=warning,
            next_step="check the filter; do nothing if it is meant to drop them",
        )

    def definition_warned(self, *, warning: str) -> None:
        """A definition was saved that uses an unknown event, property or trait."""
        self.log.warning(
            "definition_names_unknown",
            detail=warning,
            next_step="check the name; do nothing if it will be received later",
        )

    def configuration_warned(self, *, warning: str) -> None:
        """A configuration was saved that may be a mistake."""
        self.log.warning("configuration_warned", detail=warning, next_step="check what was changed")

    def config_file_refused(self, *, path: str, reason: str) -> None:
        """A changed config file is not valid. The running configuration stays in use."""
        self.log.error(
            "config_file_refused",
            path=path,
            reason=reason,
            next_step="correct the file; it is then applied automatically",
        )

    def config_file_unconfirmed(self, *, path: str, reason: str) -> None:
        """A config file seems to rename an audience or computed trait. The running configuration stays in use."""
        self.log.error(
            "config_file_unconfirmed",
            path=path,
            reason=reason,
            next_step="set a `key` for each of them in the file, or run `punchcard apply` with --yes",
        )

    def config_file_postponed(self, *, path: str, reason: str) -> None:
        """A changed config file could not be stored. It is retried."""
        self.log.warning("config_file_postponed", path=path, reason=reason)

    def configuration_reload_failed(self, *, reason: str) -> None:
        """The stored configuration cannot be read. The last good one stays in use."""
        self.log.error("configuration_reload_failed", reason=reason)

    def configuration_reload_recovered(self, *, revision: int) -> None:
        """The stored configuration can be read again."""
        self.log.info("configuration_reload_recovered", revision=revision)

    def destination_invalidated(self, *, destination: str, detail: str) -> None:
        """This version cannot use a stored destination. Its events are held until it is corrected."""
        self.log.error(
            "destination_invalidated",
            destination=destination,
            detail=detail,
            next_step="correct its settings or filters; its held events are then planned",
        )

    def part_invalidated(self, *, kind: str, slug: str, detail: str) -> None:
        """This version cannot use a stored part other than a destination."""
        self.log.error("configuration_part_invalidated", kind=kind, slug=slug, detail=detail, next_step="correct it")
