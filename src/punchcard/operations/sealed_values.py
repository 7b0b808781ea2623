"""Encrypted texts, which nobody can read or change: what a browser keeps between two steps of a sign-in."""

import json
from collections.abc import Mapping
from datetime import timedelta

from punchcard.clock import Clock, from_micros, to_micros
from punchcard.errors import ConfigurationError
from punchcard.workspace.keyring import Keyring


def seal(keyring: Keyring, name: str, values: Mapping[str, str], *, length: timedelta, clock: Clock) -> str:
    """Return values as an encrypted text.

    Args:
        name: What the text is for. It is sealed, too: one text cannot take the place of another.
        length: How long the text is valid.
    """
    until = to_micros(clock.now() + length)
    return keyring.encrypt(json.dumps({"name": name, "until": until, "values": dict(values)}))


def unseal(keyring: Keyring, name: str, text: str, *, clock: Clock) -> Mapping[str, str] | None:
    """Return the values of a text, None if it is missing, expired, for something else or not ours."""
    try:
        content = json.loads(keyring.decrypt(text))
    except ConfigurationError:
        return None
    if content["name"] != name or from_micros(content["until"]) <= clock.now():
        return None
    values: dict[str, str] = content["values"]
    return values
