"""Give suppressed subjects of an earlier version the checksum that spares routing most hashes."""

from typing import Final

import structlog

from punchcard.errors import ConfigurationError
from punchcard.store.engine import Store
from punchcard.store.privacy.suppressions import SuppressedSubject, add_checksums, without_checksum
from punchcard.workspace.subject_vault import SubjectHashes, SubjectVault

_AT_ONCE: Final = 500


class MissingChecksums:
    """Goes once through the subjects without a checksum. Those that are only known by their hash stay without one."""

    def __init__(self, store: Store, vault: SubjectVault) -> None:
        self._store = store
        self._vault = vault
        self._after = ""
        self._is_done = False
        self._logger = structlog.get_logger("punchcard.privacy")

    def step(self) -> bool:
        """Add the next ones; False if there are no more.

        Raises:
            StorageError: The store is unavailable; call again.
        """
        if self._is_done:
            return False
        with self._store.reading() as work:
            subjects = without_checksum(work, after=self._after, count=_AT_ONCE)
            hashes = self._vault.open(work) if subjects else None
        if not subjects or hashes is None:
            self._is_done = True
            return False
        checksums = {
            subject.digest: checksum
            for subject in subjects
            if (checksum := self._checksum_of(subject, hashes)) is not None
        }
        if checksums:
            with self._store.unit_of_work() as work:
                add_checksums(work, checksums)
        self._after = subjects[-1].digest
        return True

    def _checksum_of(self, subject: SuppressedSubject, hashes: SubjectHashes) -> int | None:
        try:
            value = self._vault.decrypt(subject.value or "")
        except ConfigurationError as error:
            self._logger.warning("suppressed_subject_unreadable", error=error.message)
            return None
        return hashes.masked_checksum(subject.subject_type, value)
