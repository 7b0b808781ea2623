"""`punchcard doctor`: whether Punchcard can run here, and what to do where it cannot."""

import importlib.metadata
import os
import re
import shutil
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from punchcard import __version__
from punchcard.app.assets import Assets
from punchcard.app.documentation import open_documentation
from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError, PunchcardError, StorageError
from punchcard.runtime.assembly import open_store
from punchcard.runtime.check import run_check
from punchcard.runtime.data_folder import private_files
from punchcard.runtime.diagnosis import Diagnosis, Health, ok, problem, warning
from punchcard.runtime.heartbeats import ENGAGE, SERVE, WORKER, certificate_expiry
from punchcard.runtime.settings import Settings, TlsMode, read_settings
from punchcard.runtime.store_inspection import diagnose_store, inspect_store
from punchcard.runtime.tls import open_tls
from punchcard.store.engine import HEAD_MIGRATION
from punchcard.store.operations.heartbeats import read_heartbeats
from punchcard.workspace.file import read_file

_PYTHON_MIN: Final = (3, 11)
_DISK_PROBLEM_BYTES: Final = 200 * 1024**2
_DISK_WARNING_BYTES: Final = 2 * 1024**3
_FILES_WARNING: Final = 4096
_CERTIFICATE_WARNING: Final = timedelta(days=21)
# A clock before this is wrong: this version did not exist yet.
_EARLIEST: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SECRET_CHARACTERS_MIN: Final = 16
_REQUIREMENT_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_SECONDS: Final = 5.0
_SETTING_REMEDY: Final = "Correct or remove it; docs/reference/settings.md lists all settings."
_SERVER_REMEDY: Final = "Check PUNCHCARD_DATABASE_URL, and that the server runs."
_FILE_REMEDY: Final = "Run this as the user that runs Punchcard. If it is damaged, restore it: docs/how-to/back-up.md."
_SILENT: Final = timedelta(minutes=5)


def diagnose(
    environment: Mapping[str, str],
    *,
    data: Path | None,
    config: Path | None,
    asks_partners: bool,
) -> Iterator[Diagnosis]:
    """Yield what was found, line by line. Nothing is created or changed.

    Args:
        environment: The process's environment.
        config: A config file to check.
        asks_partners: True to ask the partners of all enabled destinations whether they accept the credentials.
    """
    yield from _installation()
    try:
        settings = read_settings(environment, {"data": data})
    except ConfigurationError as error:
        for line in error.message.splitlines():
            yield problem("settings", line, _SETTING_REMEDY)
        return
    yield ok("settings", "valid")
    yield from _limits()
    yield from _disk(settings)
    yield from _data_folder(settings)
    yield from _clock()
    yield from _secret_key(settings)
    yield from _tls(settings)
    if config is not None:
        yield _attempt(
            "config file",
            lambda: read_file(config, environment),
            f"{config} is valid",
            remedy="Correct the file; docs/reference/config-file.md describes it.",
        )
    try:
        state = inspect_store(settings)
    except PunchcardError as error:
        is_file = isinstance(error, StorageError) and not settings.database_url
        remedy = _FILE_REMEDY if is_file else _SERVER_REMEDY
        yield problem("store", error.message, _SETTING_REMEDY if isinstance(error, ConfigurationError) else remedy)
        yield _port(settings)
        return
    yield from diagnose_store(state)
    if state.revision == HEAD_MIGRATION and _has_log(settings):  # otherwise opening them would change or create them
        yield from _installed(settings, asks_partners=asks_partners)
    yield _port(settings)


def _installed(settings: Settings, *, asks_partners: bool) -> Iterator[Diagnosis]:
    """Yield what is found in an installation that has been started before."""
    for finding in run_check(settings, asks_partners=asks_partners):
        yield Diagnosis(
            subject=finding.subject, health=Health.OK if finding.ok else Health.PROBLEM, message=finding.message
        )
    yield from _processes(settings)


def _installation() -> Iterator[Diagnosis]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _PYTHON_MIN:
        yield problem("Python", f"{version} is too old", "Install Python 3.11 or later.")
    else:
        yield ok("Python", f"{version} at {sys.executable}")
    versions, missing = [], []
    for requirement in importlib.metadata.requires("punchcard") or ():
        match = _REQUIREMENT_NAME.match(requirement)
        if match is None or "extra ==" in requirement or ("Windows" in requirement and os.name != "nt"):
            continue
        try:
            versions.append((match[0], importlib.metadata.version(match[0])))
        except importlib.metadata.PackageNotFoundError:
            missing.append(match[0])
    if missing:
        yield problem("packages", f"missing: {', '.join(missing)}", "Install Punchcard again, with its requirements.")
    known = dict(versions)
    shown = ", ".join(
        f"{name} {known[name]}" for name in ("duckdb", "pyarrow", "deltalake", "sqlalchemy") if name in known
    )
    yield ok("versions", f"Punchcard {__version__}, {shown}, SQLite {sqlite3.sqlite_version}")
    if not Assets().are_built:
        yield problem(
            "App", "its styles and scripts are missing", "Install the wheel, or run `make assets` in a clone."
        )
    if not open_documentation().paths:
        yield warning("documentation", "is missing", "Install the wheel.")


def _limits() -> Iterator[Diagnosis]:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES_WARNING:
        remedy = f"Raise it to {_FILES_WARNING} or more: `LimitNOFILE=` of systemd, or `ulimit -Hn`."
        yield warning("open files", f"at most {hard:,}, which limits the connections", remedy)


def _disk(settings: Settings) -> Iterator[Diagnosis]:
    folders = {settings.data}
    if "://" not in settings.lake_location():
        folders.add(Path(settings.lake_location()))
    by_disk = {folder.stat().st_dev: folder for folder in sorted(map(_existing, folders), reverse=True)}
    for folder in by_disk.values():
        free = shutil.disk_usage(folder).free
        message = f"{free / 1024**3:,.1f} GB free at {folder}"
        remedy = "Free some space, or move the data folder: without space, events are refused with 503."
        if free < _DISK_PROBLEM_BYTES:
            yield problem("disk", message, remedy)
        elif free < _DISK_WARNING_BYTES:
            yield warning("disk", message, remedy)
        else:
            yield ok("disk", message)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not os.path.exists(folder):  # unlike `Path.exists`, it takes what may not be read for missing
        folder = folder.parent
    return folder


def _data_folder(settings: Settings) -> Iterator[Diagnosis]:
    folder = settings.data
    if not os.path.exists(folder):
        parent = _existing(folder)
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok("data folder", f"{folder} does not exist yet; `punchcard up` creates it")
        else:
            yield problem("data folder", f"{folder} cannot be created in {parent}", "Choose another one with --data.")
        return
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"Make it a folder of the user that runs Punchcard: `chown -R USER {folder}`."
        yield problem("data folder", f"{folder} cannot be read and written by user {os.getuid()}", remedy)
        return
    open_paths, foreign = [], []
    for path in (folder, *private_files(folder)):
        with suppress(FileNotFoundError):  # a write-ahead log that was deleted meanwhile
            status = path.stat()
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                open_paths.append(path)
            if status.st_uid != os.getuid():
                foreign.append(path)
    if open_paths:
        remedy = f"`chmod -R go= {folder}`; the next start does it, too."
        yield warning("data folder", f"others can read {', '.join(map(str, open_paths))}", remedy)
    if foreign:
        remedy = f"`chown -R USER {folder}`, with the user that runs Punchcard."
        yield warning("data folder", f"{', '.join(map(str, foreign))} belongs to another user", remedy)
    if not open_paths and not foreign:
        yield ok("data folder", f"{folder} is closed to others")


def _clock() -> Iterator[Diagnosis]:
    now = SystemClock().now()
    if now < _EARLIEST:
        yield problem("clock", f"it shows {now:%Y-%m-%d %H:%M} UTC", "Set it, and synchronize it (NTP).")
    elif _is_synchronized() is False:
        message = f"{now:%Y-%m-%d %H:%M:%S} UTC, not synchronized"
        yield warning("clock", message, "Switch on NTP, for example with `timedatectl set-ntp true`.")
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _is_synchronized() -> bool | None:
    """Return whether the system's clock is synchronized, None if the system does not tell."""
    command = ["timedatectl", "show", "--property", "NTPSynchronized", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip()) if done.returncode == 0 else None


def _secret_key(settings: Settings) -> Iterator[Diagnosis]:
    if not settings.secret_key:
        if os.path.exists(settings.secret_key_path()):
            yield ok("secret key", f"in {settings.secret_key_path()}; keep a copy apart from the backup of the data")
        return
    if len(settings.secret_key.reveal()) < _SECRET_CHARACTERS_MIN:
        remedy = "Use a random text, for example of `openssl rand -base64 32`, and `punchcard apply` the secrets again."
        yield warning("secret key", f"PUNCHCARD_SECRET_KEY has fewer than {_SECRET_CHARACTERS_MIN} characters", remedy)
    else:
        yield ok("secret key", "from PUNCHCARD_SECRET_KEY")


def _tls(settings: Settings) -> Iterator[Diagnosis]:
    if settings.tls is TlsMode.SELF_SIGNED or not (settings.tls_cert or settings.tls_key):
        return
    diagnosis = _attempt(
        "TLS",
        lambda: open_tls(settings, clock=SystemClock()),
        "certificate and key belong together",
        remedy="Correct tls_cert and tls_key.",
    )
    yield diagnosis
    expires_at = certificate_expiry(settings) if diagnosis.health is Health.OK else None
    if expires_at is None:
        return
    message = f"the certificate expires at {expires_at:%Y-%m-%d %H:%M} UTC"
    remedy = "Renew it; new files are used within seconds, without a restart."
    left = expires_at - SystemClock().now()
    if left <= timedelta(0):
        yield problem("TLS", f"the certificate has expired at {expires_at:%Y-%m-%d %H:%M} UTC", remedy)
    elif left < _CERTIFICATE_WARNING:
        yield warning("TLS", message, remedy)
    else:
        yield ok("TLS", message)


def _has_log(settings: Settings) -> bool:
    url = settings.event_log_url()
    return not url.startswith("sqlite:///") or os.path.exists(url.removeprefix("sqlite:///"))


def _processes(settings: Settings) -> Iterator[Diagnosis]:
    store = open_store(settings)
    try:
        with store.reading() as work:
            heartbeats = read_heartbeats(work)
    finally:
        store.close()
    now = SystemClock().now()
    for process in (SERVE, WORKER, ENGAGE):
        seen = [heartbeat for heartbeat in heartbeats if heartbeat.process == process]
        running = [heartbeat for heartbeat in seen if now - heartbeat.seen_at < _SILENT]
        if running:
            yield ok(process, f"is running on {', '.join(sorted({heartbeat.host for heartbeat in running}))}")
        elif seen:
            last = max(heartbeat.seen_at for heartbeat in seen)
            remedy = "Start it with `punchcard up`, or look into its log."
            yield warning(process, f"has not reported since {last:%Y-%m-%d %H:%M} UTC", remedy)


def _port(settings: Settings) -> Diagnosis:
    host = settings.host if settings.host not in ("0.0.0.0", "::", "") else "127.0.0.1"
    place = f"{host}:{settings.port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(_SECONDS)
        if probe.connect_ex((host, settings.port)) != 0:
            return ok("port", f"{place} is free")
    scheme = "https" if settings.tls_cert or settings.tls is TlsMode.SELF_SIGNED else "http"
    if _is_punchcard(f"{scheme}://{place}/health/live"):
        return ok("port", f"Punchcard responds at {place}")
    remedy = "Choose another one with --port or PUNCHCARD_PORT, or stop what uses it."
    return problem("port", f"{place} is in use by another program", remedy)


def _is_punchcard(url: str) -> bool:
    # Any certificate will do: nothing is sent, and the question is only who listens.
    unverified = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), unverified)
    try:
        with opener.open(url, timeout=_SECONDS) as response:
            return b'"status"' in response.read(1_000)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _attempt(subject: str, action: Callable[[], object], message: str, *, remedy: str) -> Diagnosis:
    try:
        action()
    except PunchcardError as error:
        return problem(subject, error.message, remedy)
    return ok(subject, message)
