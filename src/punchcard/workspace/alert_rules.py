"""The rules by which alerts are raised: their defaults, and what the workspace has changed of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from punchcard.workspace.model import AlertRule


class Severity(StrEnum):
    """How much an alert matters."""

    INFO = "info"  # nobody need act
    WARNING = "warning"  # somebody should look today
    CRITICAL = "critical"  # awards do not go out, or will not soon; sent in quiet hours too

    @property
    def rank(self) -> int:
        """The place in the order of severities, the lowest first."""
        return list(type(self)).index(self)


class AlertKind(StrEnum):
    """Kinds of alerts; each is the name of its rule."""

    PAUSED = "paused"  # a destination that delivers nothing: its credentials are refused
    OFF = "off"  # a destination that is switched off
    RESUMED = "resumed"  # a destination that resumed by itself after its credentials were refused for a while
    INVALID = "invalid"  # a part of the configuration that this version cannot use; of a destination, events are held
    HELD = "held"  # events that a destination could not plan; they wait for a correction
    PARKED = "parked"  # awards that are not tried any more until somebody says so
    REJECTED = "rejected"  # awards that the partner has refused for good, of late
    CONFLICT = "conflict"  # events with an effect key that was sent with other content
    UNREACHABLE = "unreachable"  # a partner that has not responded for a while
    HUNG = "hung"  # an attempt that has not ended long after its time-out
    QUEUE_AGE = "queue_age"  # an award that has waited for long
    SUCCESS_RATE = "success_rate"  # too many awards of the last day that were not delivered
    SOURCE_SILENT = "source_silent"  # a busy source that sends nothing
    VOLUME = "volume"  # an event that comes far more or less often than usual
    UNMAPPED = "unmapped"  # events in volume that are not mapped
    LEDGER = "ledger"  # differences between the ledger and the partner
    COMPUTATION = "computation"  # an audience or computed trait that cannot be computed, or was found wrong
    SYNC = "sync"  # values of an audience or computed trait that a destination does not have
    RENAME = "rename"  # a config file that waits for the confirmation of a renamed audience or trait
    CONFIG_FILE = "config_file"  # a config file that is not valid, so the configuration before it stays
    QUARANTINED = "quarantined"  # log records and events that could not be processed, of late
    LAKE = "lake"  # the lake cannot be read or written
    LAKE_LOSS = "lake_loss"  # events that a repair of the lake could not restore, of late
    RESTORED = "restored"  # the store was restored from an older copy; what may have been delivered is read back
    UNKNOWN_SOURCE = "unknown_source"  # events with a write key that no source has
    DISK = "disk"  # a disk that is nearly full
    WORKER = "worker"  # no worker process is running
    ENGAGE = "engage"  # no Engage process is running
    CERTIFICATE = "certificate"  # a TLS certificate that expires soon
    PERSONAL_DATA = "personal_data"  # a property with values that nobody should send, such as card numbers
    CHANNEL = "channel"  # an alert channel that does not take notices


@dataclass(frozen=True, kw_only=True)
class RuleDefinition:
    """A rule as Punchcard brings it.

    Attributes:
        title: Its name for people.
        description: When it raises an alert; `{threshold}` stands for the number.
        threshold: The number that can be changed, None if there is none.
        unit: What the number counts.
    """

    kind: AlertKind
    title: str
    description: str
    severity: Severity
    threshold: float | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class EffectiveRule:
    """A rule as it is applied: the definition with what the workspace has changed."""

    definition: RuleDefinition
    enabled: bool
    severity: Severity
    threshold: float

    @property
    def is_default(self) -> bool:
        """True if the workspace has changed nothing of it."""
        definition = self.definition
        return self.enabled and self.severity is definition.severity and self.threshold == (definition.threshold or 0)


_DEFINITIONS: Final = (
    RuleDefinition(
        kind=AlertKind.PAUSED,
        title="Destination paused",
        description="A destination delivers nothing, because it is paused or its credentials are refused.",
        severity=Severity.CRITICAL,
    ),
    RuleDefinition(
        kind=AlertKind.OFF,
        title="Destination off",
        description="A destination is switched off.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.RESUMED,
        title="Destination resumed",
        description="A destination delivers again after its credentials were refused.",
        severity=Severity.INFO,
    ),
    RuleDefinition(
        kind=AlertKind.INVALID,
        title="Configuration cannot be used",
        description="A source, destination or filter cannot be used as it is stored.",
        severity=Severity.CRITICAL,
    ),
    RuleDefinition(
        kind=AlertKind.HELD,
        title="Events held",
        description="Events wait until their destination can plan them.",
        severity=Severity.CRITICAL,
    ),
    RuleDefinition(
        kind=AlertKind.PARKED,
        title="Awards parked",
        description="Awards are not retried any more ({threshold} or more).",
        severity=Severity.CRITICAL,
        threshold=1,
        unit="awards",
    ),
    RuleDefinition(
        kind=AlertKind.REJECTED,
        title="Awards rejected",
        description="The partner has refused awards for good in the last seven days ({threshold} or more).",
        severity=Severity.WARNING,
        threshold=1,
        unit="awards",
    ),
    RuleDefinition(
        kind=AlertKind.CONFLICT,
        title="Conflicts",
        description="Events conflict with what was sent, and nobody has resolved that ({threshold} or more).",
        severity=Severity.WARNING,
        threshold=1,
        unit="events",
    ),
    RuleDefinition(
        kind=AlertKind.UNREACHABLE,
        title="Partner unreachable",
        description="A partner has not responded to awards for {threshold} minutes.",
        severity=Severity.CRITICAL,
        threshold=5,
        unit="minutes",
    ),
    RuleDefinition(
        kind=AlertKind.HUNG,
        title="Attempt without end",
        description="An attempt to deliver an award has not ended {threshold} minutes after its time-out.",
        severity=Severity.CRITICAL,
        threshold=5,
        unit="minutes",
    ),
    RuleDefinition(
        kind=AlertKind.QUEUE_AGE,
        title="Oldest queued award",
        description="An award has waited in the queue for {threshold} minutes.",
        severity=Severity.WARNING,
        threshold=60,
        unit="minutes",
    ),
    RuleDefinition(
        kind=AlertKind.SUCCESS_RATE,
        title="Success rate",
        description="Less than {threshold} % of the awards that were completed in the last 24 hours were delivered.",
        severity=Severity.WARNING,
        threshold=95,
        unit="%",
    ),
    RuleDefinition(
        kind=AlertKind.SOURCE_SILENT,
        title="Source silent",
        description="A source has sent nothing in hours in which it is usually busy ({threshold} or more).",
        severity=Severity.WARNING,
        threshold=1,
        unit="hours",
    ),
    RuleDefinition(
        kind=AlertKind.VOLUME,
        title="Unusual volume",
        description="An event came {threshold} times more or less often in the last 24 hours than on usual days.",
        severity=Severity.INFO,
        threshold=4,
        unit="times",
    ),
    RuleDefinition(
        kind=AlertKind.UNMAPPED,
        title="Unmapped event",
        description="An event that is not mapped was received at least {threshold} times in the last seven days.",
        severity=Severity.WARNING,
        threshold=20,
        unit="events",
    ),
    RuleDefinition(
        kind=AlertKind.LEDGER,
        title="Ledger differences",
        description="The last reconciliation found differences ({threshold} or more).",
        severity=Severity.CRITICAL,
        threshold=1,
        unit="differences",
    ),
    RuleDefinition(
        kind=AlertKind.COMPUTATION,
        title="Computation failed",
        description="An audience or computed trait cannot be computed, or had wrong values.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.SYNC,
        title="Sync failed",
        description="A destination does not have values of an audience or computed trait.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.RENAME,
        title="Rename not confirmed",
        description="The config file renames an audience or computed trait without its key, and waits.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.CONFIG_FILE,
        title="Config file not valid",
        description="The config file is not valid, so the configuration before it stays.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.QUARANTINED,
        title="Events quarantined",
        description="Records or events could not be processed in the last seven days ({threshold} or more).",
        severity=Severity.WARNING,
        threshold=1,
        unit="events",
    ),
    RuleDefinition(
        kind=AlertKind.LAKE,
        title="Data lake failing",
        description="The data lake cannot be read or written.",
        severity=Severity.CRITICAL,
    ),
    RuleDefinition(
        kind=AlertKind.LAKE_LOSS,
        title="Events lost from the data lake",
        description="A repair of the data lake could not restore events.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.RESTORED,
        title="Database restored",
        description="The database was restored from an older copy.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.UNKNOWN_SOURCE,
        title="Unknown write key",
        description="Events with an unknown write key were received in the last seven days ({threshold} or more).",
        severity=Severity.WARNING,
        threshold=1,
        unit="events",
    ),
    RuleDefinition(
        kind=AlertKind.DISK,
        title="Disk nearly full",
        description="Less than {threshold} % of a disk that Punchcard writes to is free.",
        severity=Severity.CRITICAL,
        threshold=10,
        unit="%",
    ),
    RuleDefinition(
        kind=AlertKind.WORKER,
        title="Worker not running",
        description="No worker has reported for {threshold} minutes.",
        severity=Severity.CRITICAL,
        threshold=2,
        unit="minutes",
    ),
    RuleDefinition(
        kind=AlertKind.ENGAGE,
        title="Engage not running",
        description="Engage has not reported for {threshold} minutes.",
        severity=Severity.WARNING,
        threshold=10,
        unit="minutes",
    ),
    RuleDefinition(
        kind=AlertKind.CERTIFICATE,
        title="Certificate expiring",
        description="The TLS certificate expires within {threshold} days.",
        severity=Severity.WARNING,
        threshold=14,
        unit="days",
    ),
    RuleDefinition(
        kind=AlertKind.PERSONAL_DATA,
        title="Card number or secret",
        description="Values of a property look like card numbers, passwords or tokens, and nobody has classified it.",
        severity=Severity.WARNING,
    ),
    RuleDefinition(
        kind=AlertKind.CHANNEL,
        title="Alert channel failing",
        description="An alert channel has not taken a notice for {threshold} minutes.",
        severity=Severity.WARNING,
        threshold=5,
        unit="minutes",
    ),
)

RULES: Final[Mapping[AlertKind, RuleDefinition]] = MappingProxyType(
    {definition.kind: definition for definition in _DEFINITIONS}
)
"""The rules in the order in which their alerts are listed."""


def effective_rules(changed: Iterable[AlertRule]) -> Mapping[AlertKind, EffectiveRule]:
    """Return every rule with what the workspace has changed; a change that cannot be read leaves the default."""
    by_name = {rule.rule: rule for rule in changed}
    return MappingProxyType({kind: _effective(definition, by_name.get(kind)) for kind, definition in RULES.items()})


def _effective(definition: RuleDefinition, changed: AlertRule | None) -> EffectiveRule:
    default = definition.threshold or 0
    if changed is None:
        return EffectiveRule(definition=definition, enabled=True, severity=definition.severity, threshold=default)
    severity = Severity(changed.severity) if changed.severity in set(Severity) else definition.severity
    has_threshold = definition.threshold is not None and changed.threshold is not None and changed.threshold > 0
    return EffectiveRule(
        definition=definition,
        enabled=changed.enabled,
        severity=severity,
        threshold=changed.threshold if has_threshold and changed.threshold is not None else default,
    )


DEFAULT_RULES: Final = effective_rules(())
"""The rules of a workspace that has changed none."""
