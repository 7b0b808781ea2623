"""Counts the rows of an import that earned points, once Punchcard has routed them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from punchcard.cli.tracking_client import TrackingClient, UnreachableError

_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.25
_IDS_PER_REQUEST = 1_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Earnings:
    """Awards of the sent rows.

    Attributes:
        earned: Number of rows with an award in the ledger, None if it is not known.
        sentence: Sentence for the summary.
    """

    earned: int | None
    sentence: str


class _Earned(msgspec.Struct, rename="camel"):
    earned: list[str]


class _Data(msgspec.Struct):
    data: _Earned


class _Result(msgspec.Struct):
    reason: str | None = None


class _Trace(msgspec.Struct):
    results: list[_Result]


class _TraceData(msgspec.Struct):
    data: _Trace


def find_token(token: str | None, *, url: str, data: Path) -> str | None:
    """Return the token of the Public API: the given one, or the one in the data folder for a URL on this machine."""
    if token:
        return token
    if urlsplit(url).hostname not in _LOOPBACK:
        return None  # never send this machine's token to another machine
    try:
        return (data / "admin-token").read_text().strip() or None
    except OSError:
        return None


def count_earnings(client: TrackingClient, message_ids: Sequence[str], *, token: str | None) -> Earnings:
    """Return how many of the events earned; wait until the last one is routed, up to a limit.

    Args:
        message_ids: Message ids of the accepted events, in the order in which they were sent.
        token: Token of the Public API.
    """
    if not message_ids:
        return Earnings(0, "0 earned")
    if token is None:
        return Earnings(None, "To see what the rows earned, set --token, or open the source's events in the App.")
    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        while not _is_routed(client, message_ids[-1], token):
            if time.monotonic() > deadline:
                return Earnings(None, "Not all rows are routed yet. The events in the App show what they earned.")
            time.sleep(_PAUSE_SECONDS)
        earned = sum(_earned(client, ids, token) for ids in _chunks(message_ids))
    except (UnreachableError, msgspec.DecodeError):
        return Earnings(None, "The server does not report what the rows earned. The events in the App show it.")
    return Earnings(earned, f"{earned} earned")


def _is_routed(client: TrackingClient, message_id: str, token: str) -> bool:
    body = client.call_api("GET", f"/api/events/{quote(message_id, safe='')}", None, token=token)
    trace = msgspec.json.decode(body, type=_TraceData).data
    return not any(result.reason == "not_routed_yet" for result in trace.results)


def _earned(client: TrackingClient, message_ids: Sequence[str], token: str) -> int:
    content = msgspec.json.encode({"messageIds": list(message_ids)})
    body = client.call_api("POST", "/api/events/earned", content, token=token)
    return len(msgspec.json.decode(body, type=_Data).data.earned)


def _chunks(message_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(message_ids), _IDS_PER_REQUEST):
        yield message_ids[begin : begin + _IDS_PER_REQUEST]
