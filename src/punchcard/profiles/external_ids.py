"""Read the external ids of an event. Pure.

Source: Segment's documentation, "Identity Resolution ExternalIDs".
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.profiles.rules import ANONYMOUS_ID, EMAIL, USER_ID, Blocklist, ExternalId, IdentityRules

VALUE_CHARACTERS_MAX = 500
_TYPE_CHARACTERS_MAX = 64
_MOBILE = {"ios": "ios", "android": "android"}
# A cheap search before the context is parsed: most events have none of these.
_IN_CONTEXT = re.compile(rb'"(?:externalIds|device|Google Analytics)"')


class _Payload(msgspec.Struct):
    context: Any = None


class _Members(msgspec.Struct):
    context: Any = None
    traits: Any = None
    properties: Any = None


_payload = msgspec.json.Decoder(_Payload)
_members = msgspec.json.Decoder(_Members)


class IdReader:
    """Reads ids by the rules. Not thread-safe."""

    def __init__(self, rules: IdentityRules) -> None:
        self._rules = rules
        self._blocked = Blocklist(rules)
        self._common = sorted((USER_ID, EMAIL, ANONYMOUS_ID), key=lambda type_: rules.rank(ExternalId(type_, "")))

    def ids_of(
        self, *, user_id: str | None, anonymous_id: str | None, email: str | None, payload: bytes
    ) -> tuple[ExternalId, ...]:
        """Return the distinct external ids of an event, the strongest first; empty if it has none.

        Args:
            email: Lower-cased.
            payload: The event's JSON text.
        """
        ids: dict[ExternalId, None] = {}
        common = {USER_ID: user_id, EMAIL: email, ANONYMOUS_ID: anonymous_id}
        for type_ in self._common:
            if (value := common[type_]) is not None:
                self._add(ids, type_, value)
        common_count = len(ids)
        if _IN_CONTEXT.search(payload) is not None:
            self._add_of_context(ids, payload)
        for type_, path in self._rules.properties.items():
            member = _at(payload, path)
            self._add(ids, type_, member.lower() if type_ == EMAIL and isinstance(member, str) else member)
        return tuple(sorted(ids, key=self._rules.rank)) if len(ids) > common_count else tuple(ids)

    def _add(self, ids: dict[ExternalId, None], type_: str, value: object) -> None:
        if not isinstance(value, str):
            if not isinstance(value, int) or isinstance(value, bool):
                return
            value = str(value)
        text = value.strip().replace("\x00", "\u2400")
        if text and len(text) <= VALUE_CHARACTERS_MAX and text not in self._blocked:
            ids[ExternalId(type_, text)] = None

    def _add_of_context(self, ids: dict[ExternalId, None], payload: bytes) -> None:
        try:
            context = _payload.decode(payload).context
        except UNREADABLE:
            return
        if not isinstance(context, Mapping):
            return
        listed = context.get("externalIds")
        for item in listed if isinstance(listed, list) else ():
            if (
                isinstance(item, Mapping)
                and item.get("collection") == "users"
                and item.get("encoding") == "none"
                and isinstance(type_ := item.get("type"), str)
                and 0 < len(type_) <= _TYPE_CHARACTERS_MAX
            ):
                value = item.get("id")
                self._add(ids, type_, value.lower() if type_ == EMAIL and isinstance(value, str) else value)
        self._add_of_device(ids, context.get("device"))
        client_id = _inside(context, "integrations", "Google Analytics", "clientId")
        self._add(ids, "ga_client_id", client_id)

    def _add_of_device(self, ids: dict[ExternalId, None], device: object) -> None:
        if not isinstance(device, Mapping):
            return
        kind = device.get("type")
        system = _MOBILE.get(kind.lower()) if isinstance(kind, str) else None
        if system is None:
            return
        self._add(ids, f"{system}.id", device.get("id"))
        if device.get("adTrackingEnabled") is True:
            self._add(ids, f"{system}.idfa", device.get("advertisingId"))
        self._add(ids, f"{system}.push_token", device.get("token"))


def _inside(value: object, *keys: str) -> object:
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _at(payload: bytes, path: str) -> object:
    try:
        members = _members.decode(payload)
    except UNREADABLE:
        return None
    first, *rest = path.split(".")
    return _inside(getattr(members, first, None), *rest)
