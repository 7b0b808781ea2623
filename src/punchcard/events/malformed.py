"""Explain why a request body is rejected, with advice, for its sender and for operators."""

import re
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.json_problems import ENDS_TOO_EARLY, describe_json_problem

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_LEADING_COMMA: Final = re.compile(rb"\[\s*,")
_DOUBLED_COMMA: Final = re.compile(rb",\s*,")
_TRAILING_COMMA: Final = re.compile(rb",\s*[\]}]")
_WORD: Final = re.compile(rb"\b(?:undefined|None|True|False)\b")
_FORM: Final = re.compile(rb"[\w%.\[\]+-]+=[^{]*", re.ASCII)
_SINGLE_QUOTED: Final = re.compile(rb"[\[{]\s*'")
_MEMBERS_OF_EVENTS: Final = frozenset({"type", "event", "userId", "anonymousId"})
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_json = msgspec.json.Decoder(msgspec.Raw)

SINGLE_EVENT_TO_BATCH: Final = (
    "The request is a single event, but /v1/batch takes a list of events. Send it to /v1/track (or "
    'the path of its type), or as {"batch": [ … ]}.'
)


def explain_malformed(body: bytes) -> str:
    """Explain why the body is not one JSON object, and what to do; begins with `malformed JSON`."""
    return f"malformed JSON: {_explanation(body)}."


def is_single_event(body: bytes) -> bool:
    """Return whether the body is the JSON object of one event, where a batch is expected."""
    try:
        members = _object.decode(body)
    except UNREADABLE:
        return False
    return "batch" not in members and not _MEMBERS_OF_EVENTS.isdisjoint(members)


def _explanation(body: bytes) -> str:
    text = body.strip()
    if not text:
        return "the body is empty"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:4]:
        return "the body is UTF-16; send UTF-8"
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"the body is not UTF-8 (byte {error.start}); the sender must encode it as UTF-8"
    # A comma inside a text does not count.
    structure = _STRING.sub(b'""', text)
    if _LEADING_COMMA.search(structure):
        return (
            "a list begins with a comma. Mobile libraries write such a batch when the file of their queue has lost its "
            "first event. Update the library, or clear its queue (reinstall the app or delete its data), because it "
            "sends the same batch again and again"
        )
    if _DOUBLED_COMMA.search(structure):
        return "two commas follow each other: an event or member between them is missing"
    if _TRAILING_COMMA.search(structure):
        return "there is a comma before the end of a list or object; remove it"
    if _SINGLE_QUOTED.match(structure):
        return "texts are in single quotes; use double quotes"
    if _FORM.fullmatch(text):
        return "the body is a form; send JSON"
    if (word := _WORD.search(structure)) is not None:
        return f"{word[0].decode()} is not JSON; write the body with a JSON library"
    return _by_decoding(text)


def _by_decoding(text: bytes) -> str:
    try:
        _json.decode(text)
    except UNREADABLE as error:
        problem = describe_json_problem(text, error)
        if problem.startswith(ENDS_TOO_EARLY):
            return f"the JSON is incomplete ({problem}); it was truncated in transit or by its sender"
        return problem
    if text.startswith(b"["):
        return 'the body is a list; a batch is an object: {"batch": [ … ]}'
    return "the body must be a JSON object"
