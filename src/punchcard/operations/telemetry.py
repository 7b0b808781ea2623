"""What alerts, and mail to operators, log and count."""

from collections.abc import Sequence

import prometheus_client
import structlog

_changes = prometheus_client.Counter(
    "punchcard_alert_changes", "Alerts that were raised or resolved.", ["kind", "state"]
)
_notices = prometheus_client.Counter(
    "punchcard_alert_notices", "Attempts to send a notice of an alert, by result.", ["channel", "result"]
)
_failures = prometheus_client.Counter(
    "punchcard_alert_conditions_failed", "Evaluations of alert rules that failed.", ["kind"]
)
_reset_mails = prometheus_client.Counter(
    "punchcard_password_reset_mails", "Mails with a link for a new password, by result.", ["result"]
)


class AlertTelemetry:
    """Log lines and metrics of alerts."""

    def __init__(self) -> None:
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("punchcard.alerts")

    def alert_changed(self, *, state: str, kind: str, severity: str, title: str) -> None:
        """An alert was raised or resolved."""
        _changes.labels(kind, state).inc()
        self._log.info(f"alert_{state}", kind=kind, severity=severity, title=title)

    def condition_failed(self, *, kinds: Sequence[str], error: Exception) -> None:
        """Rules could not be evaluated; their alerts stay as they are."""
        for kind in kinds:
            _failures.labels(kind).inc()
        self._log.error("alert_condition_failed", kinds=list(kinds), exc_info=error)

    def notice_sent(self, *, channel: str, type: str, notice_id: int) -> None:
        """A channel has taken a notice."""
        _notices.labels(channel, "sent").inc()
        self._log.info("alert_notice_sent", channel=channel, type=type, notice=notice_id)

    def notice_failed(self, *, channel: str, type: str, notice_id: int, error: str) -> None:
        """A channel has not taken a notice; it is tried again."""
        _notices.labels(channel, "failed").inc()
        self._log.warning("alert_notice_failed", channel=channel, type=type, notice=notice_id, error=error)

    def notice_given_up(self, *, channel: str, type: str, notice_id: int, error: str) -> None:
        """A channel has not taken a notice for days; it is not tried any more."""
        _notices.labels(channel, "given_up").inc()
        self._log.error("alert_notice_given_up", channel=channel, type=type, notice=notice_id, error=error)

    def loop_failed(self, *, error: Exception) -> None:
        """The loop of alerts met a defect, and goes on."""
        self._log.error("alert_loop_failed", exc_info=error)

    def storage_failed(self, *, error: str) -> None:
        """The store is away; alerts are evaluated again when it is back."""
        self._log.warning("alert_storage_failed", error=error)


class AccountTelemetry:
    """Log lines and metrics of operators' accounts."""

    def __init__(self) -> None:
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("punchcard.accounts")

    def password_reset_sent(self, *, operator_id: str) -> None:
        """A mail server has taken the link for a new password."""
        _reset_mails.labels("sent").inc()
        self._log.info("password_reset_sent", operator=operator_id)

    def password_reset_failed(self, *, error: str) -> None:
        """The link for a new password could not be sent; the operator does not get it."""
        _reset_mails.labels("failed").inc()
        self._log.error("password_reset_failed", error=error)

    def password_reset_dropped(self) -> None:
        """Too many links wait for the mail server."""
        _reset_mails.labels("dropped").inc()
        self._log.error("password_reset_dropped")
