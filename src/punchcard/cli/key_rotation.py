"""What the commands under `punchcard secrets` do."""

import sys
import threading
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Final

from punchcard.cli.interruption import explained_interruption
from punchcard.cli.listing import print_json_lines
from punchcard.errors import ConfigurationError
from punchcard.operations.key_rotation import (
    announce_keys,
    count_key_usage,
    count_own_calls_waiting,
    reencrypt,
)
from punchcard.runtime.assembly import open_keyring, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.workspace.key_file import KeyFile, new_key

_POLLS: Final = 3  # of the configuration by every process, before the next step relies on their new keys
_HELP: Final = "See docs/how-to/rotate-the-secret-key.md."


def rotate_key(settings: Settings) -> int:
    """Encrypt all stored secrets with a new key; return 0, or 1 if some cannot be read.

    Raises:
        ConfigurationError: The operator sets the key, and no other accepted one; or another process rotates it.
        StorageError: The store is unavailable; repeat the call.
    """
    if settings.secret_key and not settings.secret_key_accepted:
        raise ConfigurationError(
            "secret_key: The key is in PUNCHCARD_SECRET_KEY. Set the new key there and the old one in "
            f"PUNCHCARD_SECRET_KEY_ACCEPTED, on all machines, and run this again. {_HELP}"
        )
    with (
        _alone(settings),
        closing(open_store(settings)) as store,
        explained_interruption(
            "The rotation is not finished, and every secret can be read as before. Run the same command to continue."
        ),
    ):
        if not settings.secret_key:
            _introduce_new_key(settings, store)
        rows = reencrypt(store, open_keyring(settings))
    print(f"{rows:,} rows were encrypted with the new key.")
    return show_key_usage(settings, as_json=False)


def finish_rotation(settings: Settings) -> int:
    """Forget the old key once nothing needs it; return 0, or 1 if something does.

    Raises:
        ConfigurationError: There is no old key, or another process rotates the key.
        StorageError: Store or log is unavailable.
    """
    with _alone(settings):
        return _finish(settings)


def _finish(settings: Settings) -> int:
    file = KeyFile(settings.secret_key_path())
    if settings.secret_key:
        if not settings.secret_key_accepted:
            raise ConfigurationError("There is no old key: PUNCHCARD_SECRET_KEY_ACCEPTED is not set.")
    elif not file.read().previous:
        raise ConfigurationError("There is no old key. Run `punchcard secrets rotate` first.")
    with closing(open_store(settings)) as store:
        keyring = open_keyring(settings)
        reencrypt(store, keyring)
        if count_key_usage(store, keyring).accepted:
            print("Some secrets were saved with the old key meanwhile. Run this again.", file=sys.stderr)
            return 1
        with open_log(settings) as log:
            last = log.last_position()
        with store.reading() as work:
            routed = position_of(work, ROUTING)
        waiting = count_own_calls_waiting(store, keyring)
        if routed < last or waiting:
            reason = f"{waiting:,} held calls" if waiting else "Events that are not routed yet"
            print(f"{reason} may need the old key. Run this again once they are processed.", file=sys.stderr)
            return 1
        if settings.secret_key:
            print("Nothing needs the old key. Remove PUNCHCARD_SECRET_KEY_ACCEPTED on all machines and restart them.")
            return 0
        file.write(replace(file.read(), previous=""))
        announce_keys(store)
    print("The old key was removed. Earlier backups need it: keep a copy with them.")
    return 0


def show_key_usage(settings: Settings, *, as_json: bool) -> int:
    """Print how many secrets have which key; return 0, or 1 if some have none of the keys.

    Raises:
        StorageError: The store is unavailable.
    """
    with closing(open_store(settings)) as store:
        usage = count_key_usage(store, open_keyring(settings))
    if as_json:
        print_json_lines([{"current": usage.current, "accepted": usage.accepted, "unreadable": usage.unreadable}])
    else:
        print(f"Encrypted with the current key:        {usage.current:,}")
        print(f"Encrypted with the other accepted key: {usage.accepted:,}")
        print(f"Encrypted with an unknown key:         {usage.unreadable:,}")
    return 1 if usage.unreadable else 0


def _alone(settings: Settings) -> AbstractContextManager[None]:
    """Keep other commands from changing the key file, if there is one."""
    return nullcontext() if settings.secret_key else KeyFile(settings.secret_key_path()).changing()


def _introduce_new_key(settings: Settings, store: Store) -> None:
    """Write a new key to the file in two steps; each may have been done before an interruption."""
    file = KeyFile(settings.secret_key_path())
    keys = file.read()
    if keys.previous:
        return  # an earlier call has come so far
    if not keys.next:
        keys = replace(keys, next=new_key())
        file.write(keys)
    announce_keys(store)
    print("Waiting until every process knows the new key …")
    threading.Event().wait(_POLLS * settings.config_poll_seconds)
    file.write(replace(keys, current=keys.next, next="", previous=keys.current))
    announce_keys(store)
