"""Write keys in event payloads: senders may put one into the body, and nobody who reads an event needs it."""

import re

from punchcard.workspace.keyring import mask

_WRITE_KEY = re.compile(rb'("writeKey"\s*:\s*")((?:[^"\\]|\\.)*)(")')


def mask_write_keys(payload: bytes) -> bytes:
    """Return the JSON text with the value of every `writeKey` masked, everything else byte for byte as it was."""
    if b'"writeKey"' not in payload:
        return payload
    return _WRITE_KEY.sub(lambda match: match[1] + mask(match[2].decode(errors="replace")).encode() + match[3], payload)
