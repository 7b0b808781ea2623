"""`punchcard check`: is everything in order for awards to arrive?"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from punchcard.clock import SystemClock
from punchcard.destinations.port import Finding
from punchcard.errors import PunchcardError, StorageError
from punchcard.lake.writer import LakeWriter
from punchcard.operations.partner_queries import check_connection
from punchcard.runtime.assemble import guard_of, open_keyring, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.held import count_held
from punchcard.store.log_binding import read_binding
from punchcard.store.pauses import pause_of
from punchcard.store.quarantine import count_quarantined
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SnapshotWatch

T = TypeVar("T")

_LATELY = timedelta(days=7)


def run_check(settings: Settings) -> list[Finding]:
    """Look at configuration, storage and every enabled destination's partner; one finding per thing looked at."""
    store, opened = _try("store", lambda: open_store(settings))
    if store is None:
        return [opened]
    try:
        findings = [
            _storage("store", store.ping),
            _storage("log", lambda: _read_log(settings, store)),
            _lake(settings),
            *_quarantine(store),
        ]
        snapshot, read = _try("configuration", lambda: _snapshot(settings, store))
        if snapshot is None:
            return [*findings, read]
        findings.append(_configured(snapshot))
        findings += _parts(snapshot)
        for destination in snapshot.destinations.values():
            findings += _destination(store, destination)
        return findings + _held(store)
    finally:
        store.close()


def _parts(snapshot: Snapshot) -> list[Finding]:
    """Parts of the stored configuration that cannot be used, but for destinations, which have lines of their own."""
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
            subject=one.destination,
            message=f"{one.count:,} {'event is' if one.count == 1 else 'events are'} held since "
            f"{one.oldest_received_at:%Y-%m-%d %H:%M} UTC, and planned once this is corrected: {one.detail}",
        )
        for one in held
    ]


def _destination(store: Store, destination: RoutedDestination) -> list[Finding]:
    slug = destination.slug
    if destination.invalid is not None:
        return [Finding(ok=False, subject=slug, message=destination.invalid)]
    if not destination.destination.enabled:
        return [Finding(ok=True, subject=slug, message="is off; nothing is asked of the partner")]
    findings = asyncio.run(
        check_connection(destination.partner, destination.settings, subject=slug, network=destination.network)
    )
    with store.reading() as work:
        paused = pause_of(work, slug)
    if paused is not None:
        ending = (
            "resume it with `punchcard destination resume`"
            if paused.is_by_operator
            else "it resumes by itself once the credentials are accepted, when the settings change, or by "
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
            ok=False, subject="configuration", message="has no source or no destination yet: `punchcard apply FILE`"
        )
    return Finding(
        ok=True,
        subject="configuration",
        message=f"is valid: {len(sources)} source(s), {len(snapshot.destinations)} destination(s)",
    )


def _snapshot(settings: Settings, store: Store) -> Snapshot:
    return SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current()


def _read_log(settings: Settings, store: Store) -> None:
    """Read the log, and see that it is the one that the store belongs to, where that is settled."""
    with open_log(settings) as log:
        log.last_position()
        with store.reading() as work:
            is_bound = read_binding(work) is not None
        if is_bound:
            guard_of(settings, store, log, current=lambda: _snapshot(settings, store)).check()


def _lake(settings: Settings) -> Finding:
    try:
        LakeWriter(settings.lake_location()).check()
    except StorageError as error:
        remedy = "awards go on without it; `punchcard lake repair` repairs it"
        return Finding(ok=False, subject="lake", message=f"{error.message}; {remedy}")
    return Finding(ok=True, subject="lake", message="is whole")


def _quarantine(store: Store) -> list[Finding]:
    """What could not be processed of late."""
    try:
        with store.reading() as work:
            counts = count_quarantined(work, since=SystemClock().now() - _LATELY)
    except StorageError as error:
        return [Finding(ok=False, subject="quarantine", message=error.message)]
    return [
        Finding(
            ok=False,
            subject="quarantine",
            message=f"{one.count:,} records or events of the last seven days could not be processed ({one.reason}), "
            f"the last one at {one.newest:%Y-%m-%d %H:%M} UTC",
        )
        for one in counts
    ]


def _storage(subject: str, probe: Callable[[], None]) -> Finding:
    try:
        probe()
    except PunchcardError as error:
        return Finding(ok=False, subject=subject, message=error.message)
    return Finding(ok=True, subject=subject, message="is writable" if subject == "store" else "is readable")


def _try(subject: str, make: Callable[[], T]) -> tuple[T | None, Finding]:
    try:
        return make(), Finding(ok=True, subject=subject, message="is in order")
    except PunchcardError as error:
        return None, Finding(ok=False, subject=subject, message=error.message)
