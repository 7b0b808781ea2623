"""The settings of Webhooks as one typed value, checked further than their types."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from punchcard.destinations.delivery_options import read_delivery
from punchcard.destinations.port import DeliveryOptions, OnUnknown
from punchcard.destinations.settings import (
    SettingsProblem,
    Values,
    read_section,
    refuse,
    split_web_address,
)
from punchcard.destinations.webhooks.definition import ALL_CALLS, OPTIONS, SETTINGS
from punchcard.destinations.webhooks.template import Template, TemplateError
from punchcard.errors import InvariantError
from punchcard.events.model import EventType

STANDARD_SECRET_PREFIX: Final = "whsec_"
_URL_CHARACTERS_MAX: Final = 2048
_HEADERS_MAX: Final = 50
_HEADER_CHARACTERS_MAX: Final = 4096
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
# What the client sets: framing, so that no header can hide a second request in the first, and the signatures.
_OWN_HEADERS: Final = frozenset(
    {
        *("host", "content-length", "content-type", "transfer-encoding", "connection", "te", "trailer", "upgrade"),
        *("expect", "x-signature", "webhook-id", "webhook-timestamp", "webhook-signature"),
    }
)


@dataclass(frozen=True, kw_only=True)
class WebhooksSettings:
    """What one configured Webhooks destination goes by.

    Attributes:
        headers: Sent with every request; left out of the repr, as they may hold credentials.
        shared_secret: "" for no signature; left out of the repr.
        is_standard: True for the headers of Standard Webhooks, False for Segment's `X-Signature`.
        calls: The calls that are sent.
        template: None for the whole event.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    shared_secret: str = field(default="", repr=False)
    is_standard: bool = False
    batch_size: int = 1
    calls: frozenset[EventType] = frozenset(EventType)
    template: Template | None = None
    delivery: DeliveryOptions = field(default_factory=DeliveryOptions)


def read_settings(settings: Mapping[str, object], options: Mapping[str, object]) -> WebhooksSettings:
    """Return the typed settings of a configured destination.

    Raises:
        ConfigurationError: all that is wrong, one line each, beginning with its key path.
    """
    problems: list[SettingsProblem] = []
    own = read_section("settings", SETTINGS, settings, problems=problems)
    ours = read_section("options", OPTIONS, options, problems=problems)
    if own is not None:
        problems.extend(_url_problems(own.text("url").strip()))
        problems.extend(_header_problems(own.text_map("headers")))
        problems.extend(_trigger_problems(own.texts("triggers")))
    if own is not None and ours is not None:
        problems.extend(_secret_problems(own.text("sharedSecret"), ours.text("signature")))
    template = None
    if ours is not None and ours.text("template").strip():
        try:
            template = Template(ours.text("template"))
        except TemplateError as error:
            problems.append(SettingsProblem(path="options.template", message=str(error)))
    refuse(problems)
    if own is None or ours is None:
        raise InvariantError("settings without a problem could not be read")
    return _typed(own, ours, template)


def _typed(own: Values, ours: Values, template: Template | None) -> WebhooksSettings:
    batch_size = int(own.number("batchSize"))
    return WebhooksSettings(
        url=own.text("url").strip(),
        headers=own.text_map("headers"),
        shared_secret=own.text("sharedSecret"),
        is_standard=ours.text("signature") == "standard-webhooks",
        batch_size=batch_size,
        calls=frozenset(EventType(call) for call in own.texts("triggers")),
        template=template,
        delivery=replace(
            read_delivery(ours),
            # Nothing is read back, so nothing waits for a lost request to land.
            unknown_wait_seconds=0,
            on_unknown=OnUnknown(ours.text("unknownOutcome")),
            batch_size=batch_size,
        ),
    )


def _url_problems(url: str) -> Iterator[SettingsProblem]:
    path = "settings.url"
    parts = split_web_address(url)
    if parts is None:
        yield SettingsProblem(path=path, message="is not a web address")
        return
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        yield SettingsProblem(path=path, message="must be a web address such as https://example.com/segment")
    elif parts.username is not None or parts.password is not None:
        yield SettingsProblem(path=path, message="must not hold a user name or password; send them as a header")
    elif parts.fragment or any(letter.isspace() for letter in url):
        yield SettingsProblem(path=path, message="must not have blanks or a part behind #")
    elif len(url) > _URL_CHARACTERS_MAX:
        yield SettingsProblem(
            path=path, message=f"has {len(url)} characters, at most {_URL_CHARACTERS_MAX} are allowed"
        )


def _header_problems(headers: Mapping[str, str]) -> Iterator[SettingsProblem]:
    if len(headers) > _HEADERS_MAX:
        yield SettingsProblem(path="settings.headers", message=f"at most {_HEADERS_MAX} headers are allowed")
    seen: set[str] = set()
    for name, value in headers.items():
        path = f"settings.headers.{name}"
        if not _HEADER_NAME.fullmatch(name):
            yield SettingsProblem(path="settings.headers", message=f"{name[:64]!r} is not the name of an HTTP header")
        elif name.lower() in _OWN_HEADERS:
            yield SettingsProblem(path=path, message="is set by Punchcard")
        elif name.lower() in seen:
            yield SettingsProblem(path=path, message="is listed twice")
        elif not value.isascii() or not value.isprintable() or len(value) > _HEADER_CHARACTERS_MAX:
            # The value is not shown: it may be a secret.
            yield SettingsProblem(
                path=path, message=f"must be printable ASCII, at most {_HEADER_CHARACTERS_MAX} characters"
            )
        seen.add(name.lower())


def _trigger_problems(triggers: tuple[str, ...]) -> Iterator[SettingsProblem]:
    path = "settings.triggers"
    if not triggers:
        yield SettingsProblem(path=path, message="must name at least one call, else nothing is ever sent")
    for trigger in triggers:
        if trigger not in ALL_CALLS:
            yield SettingsProblem(path=path, message=f'"{trigger}" is not a call; known: {", ".join(ALL_CALLS)}')


def _secret_problems(secret: str, signature: str) -> Iterator[SettingsProblem]:
    if signature != "standard-webhooks":
        return
    if not secret:
        yield SettingsProblem(
            path="settings.sharedSecret", message="is required for the signature of Standard Webhooks"
        )
    elif secret.startswith(STANDARD_SECRET_PREFIX):
        try:
            base64.b64decode(secret.removeprefix(STANDARD_SECRET_PREFIX), validate=True)
        except binascii.Error:
            message = f"must be base64 behind {STANDARD_SECRET_PREFIX}"
            yield SettingsProblem(path="settings.sharedSecret", message=message)
