"""The calls that send one value of one person to a destination, in Segment's format.

Source: Segment's documentation, "Using Engage data".
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection

from punchcard.engage.call_size import FittedValue, fit_value
from punchcard.events.parse import EVENT_BYTES_MAX
from punchcard.store.engage.profiles import ids_of
from punchcard.store.engage.synced import Synced
from punchcard.workspace.model import Computation

SPACE_ID = "spa_punchcard"
"""The only space of a workspace."""

_MESSAGE_ID = re.compile(r"engage-[0-9a-f]+-(?:([0-9a-f]{8})-)?(\d+)-(\w+)")

# The longest possible values: how much of a value fits must not depend on when, and how often, it is sent.
_LONGEST_SEQUENCE = 2**31 - 1
_LONGEST_INSTANT = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def computation_id(kind: str, key: str) -> str:
    """Return the id of a computation: `aud_…` or `tra_…`, which never changes."""
    digest = hashlib.sha256(f"{kind}:{key}".encode()).hexdigest()
    return f"{'aud' if kind == 'audience' else 'tra'}_{digest[:24]}"


class SyncCalls:
    """Builds the calls about one profile and one computation for one destination.

    Args:
        computation: None if it is not configured any more; it then counts as an audience without members.
        destination_name: The destination's key in the `integrations` object.
        account: Digest of the account at the destination.
    """

    def __init__(
        self,
        work: Connection,
        *,
        destination: str,
        destination_name: str,
        account: str,
        key: str,
        profile_id: int,
        computation: Computation | None,
    ) -> None:
        self.send: Sequence[str] = computation.send if computation is not None else ("identify",)
        self._destination = destination
        self._destination_name = destination_name
        self._account = account
        self._key = key
        self._profile_id = profile_id
        self._kind = computation.kind if computation is not None else "audience"
        ids = ids_of(work, [profile_id])[profile_id]
        user_ids = sorted(value for type_, value in ids if type_ == "user_id")
        self._user: dict[str, str] = {"userId": user_ids[0]} if user_ids else {"anonymousId": f"profile-{profile_id}"}

    def fit(self, value: str, email: str) -> FittedValue:
        """Return the part of a value that fits into every call about an email."""
        probe = Synced(
            destination=self._destination,
            key=self._key,
            email=email,
            profile_id=self._profile_id,
            value="0",
            sequence=_LONGEST_SEQUENCE,
            sent_at=_LONGEST_INSTANT,
            account=self._account,
        )
        envelope = max(len(msgspec.json.encode(self._body(probe, call))) for call in self.send) - len(probe.value)
        return fit_value(value, room=EVENT_BYTES_MAX - envelope)

    def rows(self, synced: Synced, calls: Sequence[str]) -> list[dict[str, object]]:
        """Return the named calls (`identify`, `track`) as rows of `sync_calls`."""
        return [
            {
                "message_id": _message_id(synced, call),
                "destination": synced.destination,
                "body": msgspec.json.encode(self._body(synced, call)).decode(),
                "created_at": synced.sent_at,
            }
            for call in calls
        ]

    def _body(self, synced: Synced, call: str) -> dict[str, object]:
        body = self._identify(synced) if call == "identify" else self._track(synced)
        return body | {
            **self._user,
            "messageId": _message_id(synced, call),
            "timestamp": synced.sent_at.isoformat().replace("+00:00", "Z"),
            "integrations": {"All": False, self._destination_name: True},
        }

    def _personas(self) -> dict[str, object]:
        is_audience = self._kind == "audience"
        return {
            "computation_class": "audience" if is_audience else "trait",
            "computation_id": computation_id(self._kind, self._key),
            "computation_key": self._key,
            "namespace": SPACE_ID,
            "space_id": SPACE_ID,
        }

    def _identify(self, synced: Synced) -> dict[str, object]:
        traits = {"email": synced.email, self._key: msgspec.Raw(synced.value.encode())}
        return {"type": "identify", "traits": traits, "context": {"personas": self._personas()}}

    def _track(self, synced: Synced) -> dict[str, object]:
        key, value = self._key, msgspec.Raw(synced.value.encode())
        if self._kind == "audience":
            event = "Audience Exited" if synced.value == "false" else "Audience Entered"
            properties: dict[str, object] = {"audience_key": key, key: value}
        else:
            event, properties = "Trait Computed", {"trait_key": key, key: value}
        context = {"personas": self._personas(), "traits": {"email": synced.email}}
        return {"type": "track", "event": event, "properties": properties, "context": context}


def _message_id(synced: Synced, call: str) -> str:
    about = hashlib.sha256(f"{synced.destination}\0{synced.key}\0{synced.email}".encode()).hexdigest()[:24]
    account = f"{synced.account}-" if synced.account else ""
    return f"engage-{about}-{account}{synced.sequence}-{call}"


@dataclass(frozen=True, slots=True)
class CallId:
    """What the message id of a call tells.

    Attributes:
        account: Digest of the account that it was planned for.
        sequence: Number of the call about its email and key in that account.
        call: `identify` or `track`.
    """

    account: str
    sequence: int
    call: str


def read_message_id(message_id: str) -> CallId | None:
    """Return what a message id of Engage tells, None for any other one."""
    match = _MESSAGE_ID.fullmatch(message_id)
    return None if match is None else CallId(match[1] or "", int(match[2]), match[3])
