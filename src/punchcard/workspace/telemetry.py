"""What the workspace tells: log lines (noun and past participle)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from punchcard.workspace.plan import Change


@dataclass(frozen=True)
class WorkspaceTelemetry:
    """The workspace's log lines. Write keys and secrets are not in them."""

    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("punchcard.workspace"))

    def configuration_changed(self, *, revision: int, changes: Sequence[Change]) -> None:
        """A new revision stands."""
        parts = [f"{change.kind} {change.part} {change.slug}".rstrip() for change in changes]
        self.log.info("configuration_changed", revision=revision, parts=parts)

    def dropping_filter_saved(self, *, warning: str) -> None:
        """A new filter would have dropped events that earn points."""
        self.log.warning("filter_drops_mapped_events", detail=warning, next_step="nothing, if that is what it is for")

    def definition_warned(self, *, warning: str) -> None:
        """A new definition asks for an event, a property or a trait that nobody has."""
        self.log.warning("definition_names_unknown", detail=warning, next_step="nothing, if it is still to come")

    def config_file_refused(self, *, path: str, reason: str) -> None:
        """A changed config file is not valid: the running configuration stays."""
        self.log.error(
            "config_file_refused", path=path, reason=reason, next_step="correct the file; it is then applied by itself"
        )

    def config_file_unconfirmed(self, *, path: str, reason: str) -> None:
        """A config file seems to rename an audience or computed trait: the running configuration stays."""
        self.log.error(
            "config_file_unconfirmed",
            path=path,
            reason=reason,
            next_step="give each of them a `key` in the file, or run `punchcard apply` with --yes",
        )

    def config_file_postponed(self, *, path: str, reason: str) -> None:
        """A changed config file could not be stored; it is tried again."""
        self.log.warning("config_file_postponed", path=path, reason=reason)

    def configuration_reload_failed(self, *, reason: str) -> None:
        """The newest configuration cannot be read: the last good one goes on."""
        self.log.error("configuration_reload_failed", reason=reason)

    def configuration_reload_recovered(self, *, revision: int) -> None:
        """The configuration can be read again."""
        self.log.info("configuration_reload_recovered", revision=revision)

    def destination_invalidated(self, *, destination: str, detail: str) -> None:
        """A stored destination cannot be used by this version: its events are held until it is corrected."""
        self.log.error(
            "destination_invalidated",
            destination=destination,
            detail=detail,
            next_step="correct its settings or filters; the events that are held for it are planned then",
        )

    def part_invalidated(self, *, kind: str, slug: str, detail: str) -> None:
        """Another stored part cannot be used by this version."""
        self.log.error("configuration_part_invalidated", kind=kind, slug=slug, detail=detail, next_step="correct it")
