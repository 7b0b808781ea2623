"""Log lines of reconciliations and simulations."""

from dataclasses import dataclass, field

import structlog


@dataclass(frozen=True)
class ReconciliationTelemetry:
    """Log lines of the reconciliations of one destination."""

    destination: str
    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("punchcard.reconciliation"))

    def reconciliation_started(self, *, reconciliation_id: int) -> None:
        """The partner's transactions are read now."""
        self.log.info("reconciliation_started", destination=self.destination, reconciliation=reconciliation_id)

    def reconciliation_finished(self, *, reconciliation_id: int, differences: int, read: int) -> None:
        """Both sides were compared."""
        self.log.info(
            "reconciliation_finished",
            destination=self.destination,
            reconciliation=reconciliation_id,
            differences=differences,
            read=read,
        )

    def reconciliation_postponed(self, *, reconciliation_id: int, error: str) -> None:
        """The partner cannot be asked at the moment: it goes on by itself."""
        self.log.warning(
            "reconciliation_postponed", destination=self.destination, reconciliation=reconciliation_id, error=error
        )

    def reconciliation_failed(
        self, *, reconciliation_id: int, error: str, exc_info: BaseException | None = None
    ) -> None:
        """It cannot be done; its page says why."""
        self.log.error(
            "reconciliation_failed",
            destination=self.destination,
            reconciliation=reconciliation_id,
            error=error,
            exc_info=exc_info,
        )

    def loop_failed(self, *, error: BaseException) -> None:
        """The next reconciliation could not be determined: tried again."""
        self.log.error("reconciliation_loop_failed", destination=self.destination, exc_info=error)

    def storage_failed(self, *, error: str) -> None:
        """The store is away: tried again."""
        self.log.warning("reconciliation_storage_failed", destination=self.destination, error=error)


@dataclass(frozen=True)
class SimulationTelemetry:
    """Log lines of simulations."""

    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("punchcard.simulation"))

    def simulation_failed(self, *, simulation_id: int, error: BaseException) -> None:
        """A defect ended it; its page says so."""
        self.log.error("simulation_failed", simulation=simulation_id, exc_info=error)

    def storage_failed(self, *, error: str) -> None:
        """Store or lake is away: tried again."""
        self.log.warning("simulation_storage_failed", error=error)
