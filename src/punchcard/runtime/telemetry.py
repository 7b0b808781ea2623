"""Log events and metrics of the serving process's connections."""

import time

import prometheus_client
import structlog

_refused = prometheus_client.Counter(
    "punchcard_http_refused",
    "Connections closed and requests refused before they reached an application, by reason.",
    ["reason"],
)
_open = prometheus_client.Gauge(
    "punchcard_http_connections", "Open connections of all serving processes.", multiprocess_mode="livesum"
)
_LOG_INTERVAL_SECONDS = 60.0


class ConnectionTelemetry:
    """Log events and metrics of connections. A shortage is logged once a minute at most."""

    def __init__(self) -> None:
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("punchcard.http")
        self._logged_at: dict[str, float] = {}

    def request_refused(self, reason: str) -> None:
        """A connection was closed, or a request refused, because of a limit."""
        _refused.labels(reason).inc()
        self._log.debug("http_request_refused", reason=reason)

    def connections_counted(self, count: int) -> None:
        """The number of open connections of this process has changed."""
        _open.set(count)

    def connections_exhausted(self, reason: str, *, open_connections: int) -> None:
        """The maximum number of connections is reached: one was closed or rejected."""
        self.request_refused(reason)
        if self._is_due(reason):
            self._log.warning(
                "http_connections_exhausted",
                reason=reason,
                open=open_connections,
                next_step="Idle and slow connections are closed first. See connections_max and "
                "connections_per_address_max, and the limit of open files (ulimit -n).",
            )

    def connections_limited(self, *, requested: int, allowed: int) -> None:
        """The limit of open files allows fewer connections than the settings."""
        self._log.warning(
            "http_connections_limited",
            connections_max=requested,
            allowed=allowed,
            next_step="Raise the limit of open files (ulimit -n, LimitNOFILE), or lower connections_max.",
        )

    def accept_failed(self, *, error: str) -> None:
        """The system has no descriptor for a new connection."""
        if self._is_due("accept"):
            self._log.error("http_accept_failed", error=error, next_step="Raise the limit of open files.")

    def handshake_failed(self, *, error: str) -> None:
        """A TLS handshake with a client failed."""
        self._log.debug("tls_handshake_failed", error=error)

    def certificate_reloaded(self, *, file: str) -> None:
        """New connections use the new certificate."""
        self._log.info("tls_certificate_reloaded", file=file)

    def certificate_unusable(self, *, error: str) -> None:
        """The changed certificate cannot be used; the previous one stays in use."""
        self._log.error(
            "tls_certificate_unusable",
            error=error,
            next_step="Correct the files. The previous certificate stays in use.",
        )

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(kind, -_LOG_INTERVAL_SECONDS) < _LOG_INTERVAL_SECONDS:
            return False
        self._logged_at[kind] = now
        return True
