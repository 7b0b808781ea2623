"""`punchcard check`: find problems that keep awards from arriving."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from punchcard.clock import SystemClock
from punchcard.destinations.port import Finding
from punchcard.errors import PunchcardError, StorageError
from punchcard.lake.damage import repair_advice
from punchcard.lake.lake_mismatch import LAKE_ELSEWHERE
from punchcard.lake.writer import LakeWriter
from punchcard.operations.partner_queries import check_connection
from punchcard.operations.sentences import count_noun
from punchcard.runtime.assembly import guard_of, open_keyring, open_lake, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.delivery.pauses import pause_of
from punchcard.store.engine import Store
from punchcard.store.routing.held import count_held
from punchcard.store.routing.log_binding import read_binding
from punchcard.store.routing.quarantine import count_quarantined
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SnapshotWatch

T = TypeVar("T")

_RECENT = timedelta(days=7)


def run_check(settings: Settings, *, asks_partners: bool = True) -> list[Finding]:
    """Check configuration, storage and every enabled destination's partner; return one finding per check.

    Args:
        asks_partners: False sends no request to any partner.
    """
    store, opened = _try("store", lambda: open_store(settings))
    if store is None:
        return [opened]
    try:
        findings = [
            _storage("store", store.ping),
            _storage("log", lambda: _read_log(settings, store)),
            _lake(settings, store),
            *_quarantine(store),
        ]
        snapshot, read = _try("configuration", lambda: _snapshot(settings, store))
        if snapshot is None:
            return [*findings, read]
        findings.append(_configured(snapshot))
        findings += _invalid_parts(snapshot)
        for destination in snapshot.destinations.values():
            findings += _destination(store, destination, asks_partner=asks_partners)
        return findings + _held(store)
    finally:
        store.close()


def _invalid_parts(snapshot: Snapshot) -> list[Finding]:
    """Return the invalid parts of the stored configuration, except destinations, which have their own findings."""
    return [
        Finding(ok=False, subject=f"{problem.kind} {problem.slug}".rstrip(), message=problem.message)
        for problem in snapshot.problems()
        if problem.kind != "destination"
    ]


def _held(store: Store) -> list[Finding]:
    with store.reading() as work:
        held = count_held(work)
    return [
        Finding(
            ok=False,
            subject=events.destination,
            message=f"{count_noun(events.count, 'event is', 'events are')} held since "
            f"{events.oldest_received_at:%Y-%m-%d %H:%M} UTC. They are planned once this is corrected: {events.detail}",
        )
        for events in held
    ]


def _destination(store: Store, destination: RoutedDestination, *, asks_partner: bool) -> list[Finding]:
    slug = destination.slug
    if destination.invalid is not None:
        return [Finding(ok=False, subject=slug, message=destination.invalid)]
    if not destination.destination.enabled:
        return [Finding(ok=True, subject=slug, message="is off; the partner is not checked")]
    findings = [Finding(ok=True, subject=slug, message="is on; the partner is not asked")]
    if asks_partner:
        checked = check_connection(destination.partner, destination.settings, subject=slug, network=destination.network)
        findings = list(asyncio.run(checked))
    with store.reading() as work:
        paused = pause_of(work, slug)
    if paused is not None:
        ending = (
            "resume it with `punchcard destination resume`"
            if paused.is_by_operator
            else "it resumes automatically once the credentials are accepted or the settings change, and with "
            "`punchcard retry`"
        )
        message = f"delivery is paused, {paused.description}; {ending}"
        findings.append(Finding(ok=False, subject=slug, message=message))
    return [
        Finding(
            ok=finding.ok,
            subject=f"{slug}: {finding.subject}" if finding.subject != slug else slug,
            message=finding.message,
        )
        for finding in findings
    ]


def _configured(snapshot: Snapshot) -> Finding:
    sources = {route.source.slug for route in snapshot.by_write_key.values()}
    if not sources or not snapshot.destinations:
        return Finding(
            ok=False,
            subject="configuration",
            message="has no source or no destination yet. Apply a config file with `punchcard apply FILE`.",
        )
    return Finding(
        ok=True,
        subject="configuration",
        message=f"is valid: {len(sources)} source(s), {len(snapshot.destinations)} destination(s)",
    )


def _snapshot(settings: Settings, store: Store) -> Snapshot:
    return SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current()


def _read_log(settings: Settings, store: Store) -> None:
    """Read the log, and check that the store belongs to it, if the store belongs to a log yet."""
    with open_log(settings) as log:
        log.last_position()
        with store.reading() as work:
            is_bound = read_binding(work) is not None
        if is_bound:
            guard_of(settings, store, log, current=lambda: _snapshot(settings, store)).check()


def _lake(settings: Settings, store: Store) -> Finding:
    try:
        open_lake(settings, store).refuse_other_lake()
        LakeWriter(settings.lake_location()).check()
    except StorageError as error:
        if error.code == LAKE_ELSEWHERE:
            return Finding(ok=False, subject="lake", message=error.message)
        remedy = f"Awards go on without it. {repair_advice(error)}".strip()
        return Finding(ok=False, subject="lake", message=f"{error.message} {remedy}")
    return Finding(ok=True, subject="lake", message="is complete")


def _quarantine(store: Store) -> list[Finding]:
    """Return what could not be processed recently."""
    try:
        with store.reading() as work:
            counts = count_quarantined(work, since=SystemClock().now() - _RECENT)
    except StorageError as error:
        return [Finding(ok=False, subject="quarantine", message=error.message)]
    return [
        Finding(
            ok=False,
            subject="quarantine",
            message=f"{group.count:,} records or events of the last 7 days could not be processed ({group.reason}), "
            f"the last one at {group.newest:%Y-%m-%d %H:%M} UTC",
        )
        for group in counts
    ]


def _storage(subject: str, probe: Callable[[], None]) -> Finding:
    try:
        probe()
    except PunchcardError as error:
        return Finding(ok=False, subject=subject, message=error.message)
    return Finding(ok=True, subject=subject, message="is writable" if subject == "store" else "is readable")


def _try(subject: str, make: Callable[[], T]) -> tuple[T | None, Finding]:
    try:
        return make(), Finding(ok=True, subject=subject, message="is valid")
    except PunchcardError as error:
        return None, Finding(ok=False, subject=subject, message=error.message)
