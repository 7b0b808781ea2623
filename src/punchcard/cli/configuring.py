"""`apply`, `export` and `check`: the configuration as a file."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from punchcard.cli.options import quiet_logs
from punchcard.destinations.port import Finding
from punchcard.errors import ConfigurationError
from punchcard.operations.partner_queries import check_connection
from punchcard.runtime.applying import apply_with_warnings
from punchcard.runtime.assemble import open_keyring, open_store
from punchcard.runtime.check import run_check
from punchcard.runtime.settings import Settings
from punchcard.workspace import persistence
from punchcard.workspace.document import secret_keys
from punchcard.workspace.export import export
from punchcard.workspace.file import derived_keys, read_bytes, read_content, read_file
from punchcard.workspace.keyring import Keyring, is_masked
from punchcard.workspace.persistence import StoredWorkspace
from punchcard.workspace.plan import render
from punchcard.workspace.renames import describe_removals, find_renames
from punchcard.workspace.snapshot import compile_snapshot


def apply_file(file: Path, settings: Settings, *, dry_run: bool, assume_yes: bool) -> int:
    """Make a config file the configuration and print what changed, or only what would.

    Args:
        assume_yes: True to rename audiences and computed traits without asking.

    Returns:
        0 if it was done, 1 if the person said no.

    Raises:
        ConfigurationError: the file is not valid, or it has to be confirmed and nobody is there to ask; nothing was
            changed.
        StorageError: the store is away.
    """
    quiet_logs(settings)
    content = read_bytes(file)
    wanted = read_content(content, str(file), environment=os.environ)
    store = open_store(settings)
    try:
        with store.reading() as work:
            before = persistence.read(work).workspace
        renames = find_renames(before, wanted, derived_keys=derived_keys(content, environment=os.environ))
        for rename in renames:
            print(f"warning: {rename}", file=sys.stderr)
        if renames and not dry_run and not assume_yes and not _confirmed(len(renames)):
            print("nothing was changed", file=sys.stderr)
            return 1
        changes, warnings = apply_with_warnings(
            store, wanted, settings=settings, keyring=open_keyring(settings), actor="command line", dry_run=dry_run
        )
    finally:
        store.close()
    print(render(changes))
    for note in describe_removals(before, wanted):
        print(f"note: {note}")
    for warning in warnings.all():
        print(f"warning: {warning}", file=sys.stderr)
    if changes:
        print("nothing was changed: this was a dry run" if dry_run else "applied; running processes take it up at once")
    return 0


def _confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "there is nobody to ask whether this is meant: give each of them a `key` in the file, or add --yes"
        )
    what = "it is a new one" if count == 1 else "they are new ones"
    return input(f"Apply as it is, so that {what}? [y/N] ").strip().lower() in ("y", "yes")


def print_configuration(settings: Settings) -> None:
    """Print the running configuration as a config file.

    Raises:
        ConfigurationError: its secrets cannot be read.
        StorageError: the store is away.
    """
    store = open_store(settings)
    try:
        workspace = persistence.load(store, open_keyring(settings)).workspace
    finally:
        store.close()
    # The mask is not ASCII, and a file in another encoding could not be applied again.
    sys.stdout.buffer.write(export(workspace).encode())


def check_running(settings: Settings) -> int:
    """Print one line per thing looked at; 1 if an operator must act, else 0."""
    quiet_logs(settings)
    return _print_findings(run_check(settings))


def check_file(file: Path) -> int:
    """Look at a config file, and at what its destinations' partners say of it, without applying it.

    Returns:
        1 if something must be mended before it works, else 0.

    Raises:
        ConfigurationError: the file is not valid.
    """
    workspace = read_file(file, os.environ)
    for destination in workspace.destinations:
        for section, key in secret_keys(destination):
            secret = (destination.settings if section == "settings" else destination.options).get(key)
            texts = secret.values() if isinstance(secret, Mapping) else [secret]
            if any(isinstance(text, str) and is_masked(text) for text in texts):
                raise ConfigurationError(
                    f"{file}: destinations.{destination.slug}.{section}.{key}: is masked; to check the file, give the "
                    "secret itself (the running configuration is checked without --config)"
                )
    # The key only makes fingerprints here, which nobody compares.
    snapshot = compile_snapshot(StoredWorkspace(revision=0, workspace=workspace), keyring=Keyring(str(file)))
    findings = [
        Finding(
            ok=True,
            subject=str(file),
            message=f"is valid: {len(workspace.sources)} source(s), {len(workspace.destinations)} destination(s)",
        )
    ]
    for one in snapshot.destinations.values():
        if one.invalid is not None:
            findings.append(Finding(ok=False, subject=one.slug, message=one.invalid))
        elif one.destination.enabled:
            findings += asyncio.run(check_connection(one.partner, one.settings, subject=one.slug, network=one.network))
    return _print_findings(findings)


def _print_findings(findings: Sequence[Finding]) -> int:
    for finding in findings:
        line = f"{'ok      ' if finding.ok else 'PROBLEM '} {finding.subject}: {finding.message}"
        print(line, file=sys.stdout if finding.ok else sys.stderr)
    return 0 if all(finding.ok for finding in findings) else 1
