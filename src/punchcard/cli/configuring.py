"""The implementation of `apply`, `export` and `check`."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from punchcard.cli.confirmation import confirm
from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption
from punchcard.cli.listing import print_json_lines
from punchcard.cli.options import has_data, quiet_logs
from punchcard.cli.output import printable
from punchcard.destinations.port import Finding
from punchcard.errors import ConfigurationError
from punchcard.operations.partner_queries import check_connection
from punchcard.operations.refused_settings import warn_of_refused_settings
from punchcard.operations.sentences import count_noun
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.check import run_check
from punchcard.runtime.data_folder import prepare_data_folder
from punchcard.runtime.settings import Settings
from punchcard.runtime.workspace_changes import apply_with_warnings
from punchcard.workspace import persistence
from punchcard.workspace.apply import release_from_file
from punchcard.workspace.document import secret_keys
from punchcard.workspace.export import export
from punchcard.workspace.file import derived_keys, read_bytes, read_content, read_file
from punchcard.workspace.keyring import Keyring, is_masked
from punchcard.workspace.model import Workspace
from punchcard.workspace.ownership import merge_file
from punchcard.workspace.persistence import StoredWorkspace
from punchcard.workspace.plan import render
from punchcard.workspace.renames import describe_removals, find_renames
from punchcard.workspace.snapshot import compile_snapshot


def apply_file(file: Path, settings: Settings, *, dry_run: bool, assume_yes: bool, release: bool = False) -> int:
    """Apply a config file and print the changes, or only print them.

    Args:
        assume_yes: True to rename audiences and computed traits without asking.
        release: True to leave everything to the App afterwards.

    Returns:
        0 if the file was applied, 1 if the person declined.

    Raises:
        ConfigurationError: The file is not valid, or needs a confirmation without a terminal. Nothing was changed.
        StorageError: The store is unavailable.
    """
    quiet_logs(settings)
    content = read_bytes(file)
    workspace = read_content(content, str(file), environment=os.environ)
    with _data_of(settings, dry_run=dry_run) as settings_of_data:
        return _apply(
            file, content, workspace, settings_of_data, dry_run=dry_run, assume_yes=assume_yes, release=release
        )


@contextmanager
def _data_of(settings: Settings, *, dry_run: bool) -> Iterator[Settings]:
    """Yield settings with a data folder; a dry run gets a temporary one instead of one that does not exist yet."""
    if not dry_run or has_data(settings):
        yield settings
        return
    print(f"{settings.data}: This is not a data folder of Punchcard yet: everything is new.", file=sys.stderr)
    with TemporaryDirectory() as folder:
        yield replace(settings, data=Path(folder))


def _apply(
    file: Path,
    content: bytes,
    workspace: Workspace,
    settings: Settings,
    *,
    dry_run: bool,
    assume_yes: bool,
    release: bool,
) -> int:
    if not settings.database_url:
        prepare_data_folder(settings.data)
    store = open_store(settings)
    try:
        with store.reading() as work:
            stored = persistence.read(work)
        before, after = stored.workspace, merge_file(workspace, stored.workspace, stored.managed_by_file)
        renames = find_renames(before, after, derived_keys=derived_keys(content, environment=os.environ))
        for rename in renames:
            print(f"Warning: {rename}", file=sys.stderr)
        if renames and not dry_run and not assume_yes and not _confirmed(len(renames)):
            print("Nothing was changed.", file=sys.stderr)
            return 1
        changes, warnings = apply_with_warnings(
            store, workspace, settings=settings, keyring=open_keyring(settings), actor="command line", dry_run=dry_run
        )
        released = release_from_file(store) if release and not dry_run else 0
    finally:
        store.close()
    print(render(changes))
    if released:
        print(f"The App manages {count_noun(released, 'part')} now.")
    for note in describe_removals(before, after):
        print(f"Note: {note}")
    changed = [change.slug for change in changes if change.part == "destination"]
    for warning in [*warnings.all(), *warn_of_refused_settings(workspace, changed)]:
        print(f"Warning: {warning}", file=sys.stderr)
    if changes:
        print("Dry run: nothing was changed." if dry_run else "Applied. Running processes use it immediately.")
    return 0


def _confirmed(count: int) -> bool:
    outcome = "a new one" if count == 1 else "new ones"
    return confirm(
        f"Apply the file and create {outcome}?",
        alternative="set a `key` for each renamed part in the file",
    )


def print_configuration(settings: Settings, *, includes_write_keys: bool = False) -> None:
    """Print the running configuration as a config file.

    Raises:
        ConfigurationError: Its secrets cannot be decrypted.
        StorageError: The store is unavailable.
    """
    store = open_store(settings)
    try:
        stored = persistence.load(store, open_keyring(settings))
    finally:
        store.close()
    # Always UTF-8: the mask is not ASCII, and a file in another encoding could not be applied.
    text = export(stored.workspace, managed=stored.managed_by_file, includes_write_keys=includes_write_keys)
    sys.stdout.buffer.write(text.encode())


@explained_interruption(NOTHING_CHANGED)
def check_running(settings: Settings, *, as_json: bool = False) -> int:
    """Check the running configuration and print one line per finding; return 1 if there is a problem, else 0."""
    return _print_findings(run_check(settings), as_json=as_json)


@explained_interruption(NOTHING_CHANGED)
def check_file(file: Path, *, as_json: bool = False) -> int:
    """Check a config file and its settings at the partners, without applying it.

    Returns:
        1 if there is a problem, else 0.

    Raises:
        ConfigurationError: The file is not valid.
    """
    workspace = read_file(file, os.environ)
    for destination in workspace.destinations:
        for section, key in secret_keys(destination):
            secret = (destination.settings if section == "settings" else destination.options).get(key)
            texts = secret.values() if isinstance(secret, Mapping) else [secret]
            if any(isinstance(text, str) and is_masked(text) for text in texts):
                raise ConfigurationError(
                    f"{file}: destinations.{destination.slug}.{section}.{key}: The secret is masked. Enter the secret "
                    "itself to check the file, or check the running configuration without --config."
                )
    # Any key will do: it is only used for fingerprints, which are not compared here.
    snapshot = compile_snapshot(StoredWorkspace(revision=0, workspace=workspace), keyring=Keyring("any key"))
    findings = [
        Finding(
            ok=True,
            subject=str(file),
            message=f"Valid: {len(workspace.sources)} source(s), {len(workspace.destinations)} destination(s).",
        )
    ]
    for routed in snapshot.destinations.values():
        if routed.invalid is not None:
            findings.append(Finding(ok=False, subject=routed.slug, message=routed.invalid))
        elif routed.destination.enabled:
            checked = check_connection(routed.partner, routed.settings, subject=routed.slug, network=routed.network)
            findings += asyncio.run(checked)
    return _print_findings(findings, as_json=as_json)


def _print_findings(findings: Sequence[Finding], *, as_json: bool) -> int:
    if as_json:
        print_json_lines(
            {"ok": finding.ok, "subject": finding.subject, "message": finding.message} for finding in findings
        )
    for finding in () if as_json else findings:
        line = f"{'ok      ' if finding.ok else 'PROBLEM '} {finding.subject}: {finding.message}"
        print(printable(line), file=sys.stdout if finding.ok else sys.stderr)
    return 0 if all(finding.ok for finding in findings) else 1
