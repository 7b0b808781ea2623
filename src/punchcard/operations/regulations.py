"""Regulations: requests to suppress and to delete persons. The same for App, Public API, command line and partners.

Suppression takes effect with the regulation itself. What a deletion does is done by the worker: see `deletion_runner`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from punchcard.errors import ConfigurationError
from punchcard.store.access import audit
from punchcard.store.privacy.regulations import (
    Regulation,
    RegulationStatus,
    RegulationType,
    StoredSubject,
    SubjectType,
    add_regulation,
    find_by_message,
    find_regulation,
    remove_regulation,
    subjects_of,
)
from punchcard.store.privacy.suppressions import (
    SuppressionChange,
    active_of,
    change_suppressions,
    suppressions_of,
)
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.subject_vault import SubjectHashes, SubjectVault

SUBJECTS_MAX: Final = 5_000
SUBJECT_CHARACTERS_MAX: Final = 500
FIRST_STAGE: Final = "waiting"
"""The stage of a deletion until everything that was received before it has been routed."""


@dataclass(frozen=True, kw_only=True)
class NewRegulation:
    """A request to suppress or delete persons.

    Attributes:
        source: Slug of the only source that it is about; "" for all sources. For a `delete` message, the source that
            it was received from.
        message_id: Of the `delete` message, which may be repeated; None for any other request.
    """

    type: RegulationType
    subject_type: SubjectType
    subjects: Sequence[str]
    source: str = ""
    message_id: str | None = None


def create_regulation(
    work: Connection, vault: SubjectVault, request: NewRegulation, *, actor: str, now: datetime
) -> int:
    """Store a regulation and suppress its subjects, if it is one that does; return its id.

    A `delete` message that was received before creates nothing.

    Raises:
        ConfigurationError: The request is not valid, or the key of the hashes cannot be decrypted.
    """
    subjects = _read_subjects(request)
    if request.message_id is not None:
        known = find_by_message(work, request.source, request.message_id)
        if known is not None:
            return known
    hashes = vault.open_or_create(work)
    stored = [
        StoredSubject(digest=hashes.digest(request.subject_type, subject), value=vault.encrypt(subject))
        for subject in subjects
    ]
    failure = _failure(work, request, stored)
    is_deletion = request.type.deletes
    status = RegulationStatus.FINISHED
    if failure or is_deletion:
        status = RegulationStatus.FAILED if failure else RegulationStatus.INITIALIZED
    elif request.type is RegulationType.SUPPRESS_ONLY:
        status = RegulationStatus.INITIALIZED  # until queued awards of the subjects are canceled
    regulation_id = add_regulation(
        work,
        type=request.type,
        subject_type=request.subject_type,
        # After UNSUPPRESS nothing needs the values.
        subjects=stored
        if status is RegulationStatus.INITIALIZED
        else [replace(subject, value=None) for subject in stored],
        source=request.source,
        message_id=request.message_id,
        requested_by=actor,
        status=status,
        stage=FIRST_STAGE if status is RegulationStatus.INITIALIZED else "",
        detail=failure,
        now=now,
    )
    if not failure and (request.type.suppresses or request.type is RegulationType.UNSUPPRESS):
        _change_suppressions(work, request, zip(subjects, stored, strict=True), regulation_id, hashes=hashes, now=now)
    _record_in_audit(work, request, regulation_id, hashes=hashes, actor=actor, now=now)
    return regulation_id


def get_regulation(work: Connection, id: int) -> Regulation:
    """Return a regulation.

    Raises:
        NotFoundError: There is no such regulation.
    """
    regulation = find_regulation(work, id)
    if regulation is None:
        raise NotFoundError(f"There is no regulation {id}.")
    return regulation


def cancel_regulation(work: Connection, id: int, *, actor: str, now: datetime) -> None:
    """Remove a regulation that has not begun, and end what it suppresses.

    Raises:
        NotFoundError: There is no such regulation.
        ConfigurationError: It has begun.
    """
    regulation = get_regulation(work, id)
    if regulation.status is not RegulationStatus.INITIALIZED or not remove_regulation(work, regulation):
        raise ConfigurationError(
            f"Regulation {id} has the status {regulation.status}. Only an INITIALIZED regulation can be deleted.",
            code="regulation_begun",
        )
    ended = [replace(suppression, is_active=False) for suppression in suppressions_of(work, id)]
    if ended:
        change_suppressions(work, ended, now=now)
    audit.record(
        work,
        at=now,
        actor=actor,
        kind="remove",
        resource_type="regulation",
        resource_id=str(id),
        changes=audit.changes_json(audit.ChangedValue("type", before=regulation.type)),
    )


def named_subjects(work: Connection, vault: SubjectVault, regulations: Sequence[Regulation]) -> dict[int, list[str]]:
    """Return the subjects of each regulation as they were named; `hash:…` for one that was deleted since."""
    stored = subjects_of(work, [regulation.id for regulation in regulations])
    return {id: [name_subject(vault, subject.value, subject.digest) for subject in rows] for id, rows in stored.items()}


def name_subject(vault: SubjectVault, value: str | None, digest: str) -> str:
    """Return a subject as it was named; `hash:…` if only its keyed hash is left, or its value cannot be decrypted."""
    if value is None:
        return f"hash:{digest}"
    try:
        return vault.decrypt(value)
    except ConfigurationError:
        return f"hash:{digest}"


def read_regulation_type(text: str) -> RegulationType:
    """Return the type with this name.

    Raises:
        ConfigurationError: There is no such type.
    """
    if text in RegulationType.__members__:
        return RegulationType(text)
    known = ", ".join(RegulationType.__members__)
    raise _invalid(f'The regulation type "{text[:40]}" is not known. Known types: {known}.', "regulationType")


def read_subject_type(text: str) -> SubjectType:
    """Return the subject type with this name.

    Raises:
        ConfigurationError: There is no such type.
    """
    if text in SubjectType.__members__:
        return SubjectType(text)
    known = ", ".join(SubjectType.__members__)
    raise _invalid(f'The subject type "{text[:40]}" is not known. Known types: {known}.', "subjectType")


def _read_subjects(request: NewRegulation) -> list[str]:
    subjects = list(dict.fromkeys(subject.strip() for subject in request.subjects))
    if not subjects:
        raise _invalid("Name at least one subject.", "subjectIds")
    if len(subjects) > SUBJECTS_MAX:
        raise _invalid(f"A regulation has at most {SUBJECTS_MAX:,} subjects.", "subjectIds")
    for number, subject in enumerate(request.subjects, start=1):
        if not 0 < len(subject.strip()) <= SUBJECT_CHARACTERS_MAX:
            raise _invalid(f"Subject {number} must have 1 to {SUBJECT_CHARACTERS_MAX} characters.", "subjectIds")
        if request.subject_type is SubjectType.EMAIL and "@" not in subject:
            raise _invalid(f"Subject {number} must be an email address: its type is EMAIL.", "subjectIds")
    if request.type is RegulationType.DELETE_ARCHIVE_ONLY and not request.source:
        raise _invalid("DELETE_ARCHIVE_ONLY is for one source. Use DELETE_INTERNAL for all sources.", "regulationType")
    return subjects


def _invalid(message: str, field: str) -> ConfigurationError:
    return ConfigurationError(message, code="invalid_request", field=field)


def _failure(work: Connection, request: NewRegulation, subjects: Sequence[StoredSubject]) -> str:
    """Return why a valid regulation cannot be done, "" if it can."""
    if request.type is RegulationType.UNSUPPRESS and request.source:
        digests = [subject.digest for subject in subjects]
        if active := active_of(work, digests, source=""):
            return (
                f"{len(active)} of the subjects are suppressed for all sources, which cannot be ended for one source. "
                "Create an UNSUPPRESS regulation of the workspace."
            )
    return ""


def _change_suppressions(
    work: Connection,
    request: NewRegulation,
    subjects: Iterable[tuple[str, StoredSubject]],
    regulation_id: int,
    *,
    hashes: SubjectHashes,
    now: datetime,
) -> None:
    changes = [
        SuppressionChange(
            digest=subject.digest,
            source="" if request.message_id is not None else request.source,
            subject_type=request.subject_type,
            # A subject that is deleted, too, is known by its hash only.
            value=None if request.type.deletes else subject.value,
            is_active=request.type is not RegulationType.UNSUPPRESS,
            regulation_id=regulation_id,
            checksum=hashes.masked_checksum(request.subject_type, name),
        )
        for name, subject in subjects
    ]
    change_suppressions(work, changes, now=now)


def _record_in_audit(
    work: Connection,
    request: NewRegulation,
    regulation_id: int,
    *,
    hashes: SubjectHashes,
    actor: str,
    now: datetime,
) -> None:
    """Write down who has regulated how many subjects; the audit log outlives their data, so it does not name them."""
    changes = [
        audit.ChangedValue("type", after=request.type),
        audit.ChangedValue("subjectType", after=request.subject_type),
        audit.ChangedValue("subjects", after=len(set(request.subjects))),
        audit.ChangedValue("source", after=request.source or None),
    ]
    if len(request.subjects) == 1:
        digest = hashes.digest(request.subject_type, request.subjects[0].strip())
        changes.append(audit.ChangedValue("subject", after=f"hash:{digest}"))
    audit.record(
        work,
        at=now,
        actor=actor,
        kind="add",
        resource_type="regulation",
        resource_id=str(regulation_id),
        changes=audit.changes_json(*changes),
    )
