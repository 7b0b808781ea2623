"""Encrypt all stored secrets with another key, and count which key they are encrypted with.

Every portion is a unit of work of its own, and a value that has the current key is left as it is: a rotation that was
interrupted anywhere is continued by repeating it. Processes accept both keys meanwhile.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from punchcard.errors import ConfigurationError
from punchcard.store.access.encrypted import ENCRYPTED_ACCESS
from punchcard.store.encrypted import EncryptedColumn, Key, read_texts, replace_texts
from punchcard.store.engine import Store
from punchcard.store.privacy.encrypted import ENCRYPTED_SUBJECTS
from punchcard.store.routing.held import count_held_with_key
from punchcard.store.workspace import configuration
from punchcard.store.workspace.encrypted import ENCRYPTED_CONFIGURATION
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.keyring import Keyring

# A token of Fernet: version 128 and a time below the year 2106 in base64, then the rest: 98 characters at least.
_TOKEN: Final = re.compile(r"gAAAAA[A-Za-z0-9_-]{92,}={0,2}")
_COLUMNS: Final = (*ENCRYPTED_CONFIGURATION, *ENCRYPTED_SUBJECTS, *ENCRYPTED_ACCESS)


@dataclass(frozen=True, kw_only=True)
class KeyUsage:
    """How many encrypted values there are.

    Attributes:
        current: Encrypted with the key that encrypts now.
        accepted: Encrypted with another key that is accepted.
        unreadable: Encrypted with neither.
    """

    current: int
    accepted: int
    unreadable: int


def count_key_usage(store: Store, keyring: Keyring) -> KeyUsage:
    """Count the encrypted values by their key.

    Raises:
        StorageError: The store is unavailable.
    """
    counts = {True: 0, False: 0, None: 0}
    for column in _COLUMNS:
        for text in _texts_of(store, column):
            for token in _TOKEN.findall(text):
                counts[_state_of(keyring, token)] += 1
    return KeyUsage(current=counts[True], accepted=counts[False], unreadable=counts[None])


def reencrypt(store: Store, keyring: Keyring) -> int:
    """Encrypt every value with the current key that has another accepted one; return the number of changed rows.

    Raises:
        StorageError: The store is unavailable; repeat the call.
    """
    changed = 0
    for column in _COLUMNS:
        after: Key | None = None
        while True:
            with store.unit_of_work() as work:
                rows, after = replace_texts(work, column, after=after, change=lambda text: _changed(keyring, text))
            changed += rows
            if after is None:
                break
    return changed


def announce_keys(store: Store) -> None:
    """Make every process read its configuration again, and with it the key file.

    Raises:
        StorageError: The store is unavailable.
    """
    with store.unit_of_work() as work:
        configuration.raise_revision(work, expected=configuration.lock_revision(work))


def count_own_calls_waiting(store: Store, keyring: Keyring) -> int:
    """Return the number of held calls of audiences and traits that were sent with the old key.

    Raises:
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        documents = configuration.read_documents(work)
        slugs = [f"{OWN_SOURCES}{document.slug}" for document in documents if document.kind == "destination"]
        keys = [
            f"{OWN_SOURCES}{fingerprint}" for slug in slugs for fingerprint in keyring.fingerprints(slug.encode())[1:]
        ]
        return count_held_with_key(work, keys)


def _texts_of(store: Store, column: EncryptedColumn) -> Iterator[str]:
    after: Key | None = None
    while True:
        with store.reading() as work:
            texts = read_texts(work, column, after=after)
        yield from (text for _, text in texts.rows)
        if (after := texts.after) is None:
            return


def _changed(keyring: Keyring, text: str) -> str:
    return _TOKEN.sub(lambda match: _reencrypted(keyring, match[0]), text)


def _reencrypted(keyring: Keyring, token: str) -> str:
    if _state_of(keyring, token) is not False:
        return token
    return keyring.encrypt(keyring.decrypt(token))


def _state_of(keyring: Keyring, token: str) -> bool | None:
    """Return whether a value has the current key; None if it has none of the keys."""
    if keyring.is_current(token):
        return True
    try:
        keyring.decrypt(token)
    except ConfigurationError:
        return None
    return False
