"""`versions`: the versions of the configuration on the command line."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from punchcard.cli.confirmation import confirm
from punchcard.cli.listing import print_json_lines
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError
from punchcard.operations.configuration_versions import ConfigurationVersions, DescribedVersion, RestorePlan
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.workspace.change_texts import PartChange
from punchcard.workspace.ownership import ManagedByFileError
from punchcard.workspace.persistence import PartKey
from punchcard.workspace.restoring import Restore
from punchcard.workspace.versions import channel_of

_ACTOR = "command line"
_FIRST = "the configuration when versions began to be kept"
_KINDS = ("source", "destination", "audience", "computed_trait", "transformation", "alert_channel", "alert_rule")


def print_versions(settings: Settings, *, part: str | None, count: int, as_json: bool) -> None:
    """Print versions, newest first.

    Raises:
        ConfigurationError: `part` is not a part.
        StorageError: The store is unavailable.
    """
    key = _read_part(part)
    with _opened(settings) as versions:
        listed = versions.page(count=count, part=key)
    if as_json:
        from punchcard.api.configuration_versions import version_view

        print_json_lines(map(version_view, listed))
        return
    for described in listed:
        _print_version(described)
    if not listed:
        print("No versions")


def print_difference(settings: Settings, number: int, other: int | None, *, part: str | None) -> None:
    """Print in words what turns one version into another.

    Raises:
        ConfigurationError: There is no such version, or it cannot be decrypted.
        StorageError: The store is unavailable.
    """
    with _opened(settings) as versions:
        changes = versions.diff(number, other, part=_read_part(part))
    _print_changes(changes)


def restore_version(
    settings: Settings,
    number: int,
    *,
    part: str | None,
    with_secrets: bool,
    skip_managed: bool,
    dry_run: bool,
    assume_yes: bool,
) -> int:
    """Show what a restore changes, ask, and restore; return 0, or 1 if the person declined.

    Raises:
        ConfigurationError: There is no such version or part, the result is not valid, or there is no terminal to ask.
        ManagedByFileError: The config file manages what would change.
        StorageError: The store is unavailable.
    """
    restore = Restore(number=number, part=_read_part(part), with_secrets=with_secrets)
    with _opened(settings) as versions:
        planned = versions.plan(restore, skip_managed=skip_managed)
        _print_changes(planned.changes)
        for key in planned.left:
            print(f"Note: The config file manages {planned.names[key]}, which stays as it is.")
        if planned.managed:
            raise ManagedByFileError(_refusal(planned))
        if not planned.changes:
            return 0
        if dry_run:
            print("Dry run: nothing was changed.")
            return 0
        if not assume_yes and not _confirmed(number):
            print("Nothing was changed.", file=sys.stderr)
            return 1
        new = versions.restore(planned, actor=_ACTOR)
    print("There was nothing to change." if new is None else f"Restored as version {new}. Running processes use it.")
    for change in planned.changes:
        if change.part == "destination":
            print(f"Events of the past may earn points now: punchcard replay --destination {change.slug} --dry-run")
    return 0


def _print_changes(changes: Sequence[PartChange]) -> None:
    for change in changes:
        for sentence in change.sentences:
            print(printable(sentence))
    if not changes:
        print("No changes")


def _refusal(planned: RestorePlan) -> str:
    names = ", ".join(planned.names[key] for key in planned.managed)
    remedy = "" if planned.restore.part else ", or add --skip-managed to leave it as it is"
    return f"The config file manages {names}. Change it in the file{remedy}. Nothing was changed."


def _confirmed(number: int) -> bool:
    return confirm(f"Restore version {number}?")


def _read_part(text: str | None) -> PartKey | None:
    if text is None:
        return None
    kind, _, slug = text.partition("/")
    if text == "workspace":
        return "workspace", ""
    if kind not in _KINDS or not slug:
        known = ", ".join(f"{kind}/…" for kind in _KINDS)
        raise ConfigurationError(f"--part {text}: Write workspace or one of {known}.")
    return kind, slug


def _print_version(described: DescribedVersion) -> None:
    version = described.version
    channel = channel_of(version.actor)
    actor = version.actor if channel == version.actor else f"{version.actor} ({channel})"
    restored = "" if version.restored_from is None else f", restored version {version.restored_from}"
    print(printable(f"{version.number}  {version.at:%Y-%m-%d %H:%M:%S} UTC  {actor or _FIRST}{restored}"))
    if described.problem is not None:
        print(f"    {printable(described.problem)}")
    for change in described.changes:
        for sentence in change.sentences:
            print(f"    {printable(sentence)}")


@contextmanager
def _opened(settings: Settings) -> Iterator[ConfigurationVersions]:
    store = open_store(settings)
    try:
        yield ConfigurationVersions(store, open_keyring(settings), clock=SystemClock())
    finally:
        store.close()
