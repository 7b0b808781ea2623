"""`punchcard check`: is everything in order for awards to arrive?"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from punchcard.clock import SystemClock
from punchcard.destinations.port import Finding
from punchcard.errors import PunchcardError
from punchcard.operations.asking import check_connection
from punchcard.runtime.assemble import guard_of, open_keyring, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.log_binding import read_binding
from punchcard.store.pauses import pause_of
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SnapshotWatch

T = TypeVar("T")


def run_check(settings: Settings) -> list[Finding]:
    """Look at configuration, storage and every enabled destination's partner; one finding per thing looked at."""
    store, opened = _try("store", lambda: open_store(settings))
    if store is None:
        return [opened]
    try:
        findings = [_storage("store", store.ping), _storage("log", lambda: _read_log(settings, store))]
        snapshot, read = _try("configuration", lambda: _snapshot(settings, store))
        if snapshot is None:
            return [*findings, read]
        findings.append(_configured(snapshot))
        for destination in snapshot.destinations.values():
            findings += _destination(store, destination)
        return findings
    finally:
        store.close()


def _destination(store: Store, destination: RoutedDestination) -> list[Finding]:
    slug = destination.slug
    if destination.invalid is not None:
        return [Finding(ok=False, subject=slug, message=destination.invalid)]
    if not destination.destination.enabled:
        return [Finding(ok=True, subject=slug, message="is switched off; nothing is asked of the partner")]
    findings = asyncio.run(check_connection(destination.partner, destination.settings, subject=slug))
    with store.reading() as work:
        paused = pause_of(work, slug)
    if paused is not None:
        findings.append(
            Finding(
                ok=False,
                subject=slug,
                message=f"delivery is paused since {paused.since:%Y-%m-%d %H:%M} UTC: "
                f"{paused.detail}; it resumes when the settings change, or by `punchcard retry`",
            )
        )
    return [
        Finding(ok=one.ok, subject=f"{slug}: {one.subject}" if one.subject != slug else slug, message=one.message)
        for one in findings
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
