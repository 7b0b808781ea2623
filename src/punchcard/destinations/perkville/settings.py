"""Perkville's settings as one typed value, checked further than their types."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from punchcard.destinations.delivery_options import read_delivery
from punchcard.destinations.event_names import folded_event_name
from punchcard.destinations.perkville.definition import OPTIONS, SETTINGS
from punchcard.destinations.perkville.refunds import RefundFollows, RefundRules
from punchcard.destinations.perkville.wire import DEFAULT_WIRE, Wire, read_wire
from punchcard.destinations.port import DeliveryOptions, KeyScope
from punchcard.destinations.settings import (
    SettingsProblem,
    Values,
    read_section,
    refuse,
    split_web_address,
)
from punchcard.errors import InvariantError

# Ids are part of paths such as /v2/perks/123456/.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What an Authorization header may have behind "Bearer".
_TOKEN = re.compile(r"[!-~]{1,4096}")


class RefundMethod(StrEnum):
    """How points are removed."""

    AUTO = "auto"  # as the classification of the perk demands
    NEGATIVE = "negative"  # a negative quantity on a perk that earns
    REDEEM = "redeem"  # a positive quantity on a perk that redeems


@dataclass(frozen=True, kw_only=True)
class PerkvilleSettings:
    """What one configured Perkville destination goes by.

    Attributes:
        api_key: The bearer token; left out of the repr.
        event_to_perk_map: Event name to perk id: the allowlist.
        names_by_folded: Mapped names by their folded form, for a hint when only their spelling differs.
        refunds: What a refund waits for and goes by.
        once_per_day: Mapped event names awarded at most once per customer and local day.
        wire: How Perkville's API names things.
    """

    api_key: str = field(repr=False)
    business_id: str
    location_id: str
    send_email: bool = False
    event_to_perk_map: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    names_by_folded: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    api_base_url: str = "https://api.perkville.com"
    refund_method: RefundMethod = RefundMethod.AUTO
    refunds: RefundRules = field(default_factory=RefundRules)
    once_per_day: frozenset[str] = frozenset()
    delivery: DeliveryOptions = field(default_factory=DeliveryOptions)
    wire: Wire = DEFAULT_WIRE


def read_settings(settings: Mapping[str, object], options: Mapping[str, object]) -> PerkvilleSettings:
    """The typed settings of a configured destination.

    Raises:
        ConfigurationError: all that is wrong, one line each, beginning with its key path.
    """
    problems: list[SettingsProblem] = []
    own = read_section("settings", SETTINGS, settings, problems=problems)
    ours = read_section("options", OPTIONS, options, problems=problems)
    if own is not None:
        problems.extend(_setting_problems(own))
    if ours is not None:
        problems.extend(_option_problems(ours, own))
    wire = read_wire(ours.text_map("wire"), problems=problems) if ours is not None else DEFAULT_WIRE
    refuse(problems)
    if own is None or ours is None:
        raise InvariantError("settings without a problem could not be read")
    return _typed(own, ours, wire)


def with_event_settings(settings: PerkvilleSettings, event_settings: Mapping[str, object] | None) -> PerkvilleSettings:
    """Return the settings of an effect with settings of its own: `{"businessId", "locationId", "sendEmail"}`.

    Args:
        event_settings: Validated when the event was planned; what is left out has its default. None if none came.
    """
    if event_settings is None:
        return settings
    ids = {key: value for key in ("businessId", "locationId") if isinstance(value := event_settings.get(key), str)}
    return replace(
        settings,
        business_id=ids.get("businessId", settings.business_id).strip(),
        location_id=ids.get("locationId", settings.location_id).strip(),
        send_email=event_settings.get("sendEmail") is True,
    )


def _typed(own: Values, ours: Values, wire: Wire) -> PerkvilleSettings:
    perks = {name: perk.strip() for name, perk in own.text_map("eventToPerkMap").items()}
    return PerkvilleSettings(
        api_key=own.text("apiKey").strip(),
        business_id=own.text("businessId").strip(),
        location_id=own.text("locationId").strip(),
        send_email=own.flag("sendEmail"),
        event_to_perk_map=MappingProxyType(perks),
        names_by_folded=MappingProxyType({folded_event_name(name): name for name in perks}),
        api_base_url=ours.text("apiBaseUrl").strip().rstrip("/"),
        refund_method=RefundMethod(ours.text("refundMethod")),
        refunds=RefundRules(
            wait_seconds=ours.number("refundWaitHours") * 3600, follows=RefundFollows(ours.text("refundFollows"))
        ),
        once_per_day=frozenset(ours.texts("oncePerDay")),
        delivery=replace(read_delivery(ours), order_scope=KeyScope(ours.text("orderIdScope"))),
        wire=wire,
    )


def _setting_problems(own: Values) -> Iterator[SettingsProblem]:
    if not _TOKEN.fullmatch(own.text("apiKey").strip()):
        yield SettingsProblem(
            path="settings.apiKey", message="is not a token: it has spaces or other characters tokens never have"
        )
    for key in ("businessId", "locationId"):
        if not _ID.fullmatch(own.text(key).strip()):
            yield SettingsProblem(
                path=f"settings.{key}", message=f"must be an id such as 41, is {_shown(own.text(key))}"
            )
    for name, perk in own.text_map("eventToPerkMap").items():
        if not _ID.fullmatch(perk.strip()):
            yield SettingsProblem(
                path=f"settings.eventToPerkMap.{name}", message=f"must be a perk id such as 123456, is {_shown(perk)}"
            )


def _option_problems(ours: Values, own: Values | None) -> Iterator[SettingsProblem]:
    yield from _address_problems(ours.text("apiBaseUrl").strip())
    if own is not None:
        for name in ours.texts("oncePerDay"):
            if name not in own.text_map("eventToPerkMap"):
                yield SettingsProblem(
                    path="options.oncePerDay", message=f'"{name}" is not in settings.eventToPerkMap; known names only'
                )


def _address_problems(address: str) -> Iterator[SettingsProblem]:
    path = "options.apiBaseUrl"
    parts = split_web_address(address)
    if parts is None:
        yield SettingsProblem(path=path, message="is not a web address")
        return
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        yield SettingsProblem(path=path, message="must be a web address such as https://api.perkville.com")
    elif parts.username is not None or parts.query or parts.fragment or " " in address:
        yield SettingsProblem(path=path, message="must be only scheme, host, port and path")
    elif parts.scheme == "http" and (host == "perkville.com" or host.endswith(".perkville.com")):
        # Anybody between here and there could read the token.
        yield SettingsProblem(path=path, message="Perkville is spoken to over https only")


def _shown(text: str) -> str:
    return f'"{text[:64]}"'
