"""The start-up check: whether everything that the settings refer to exists at Perkville and is of the right kind."""

from collections.abc import Iterator
from itertools import groupby

from punchcard.destinations.event_names import find_map_warnings, is_refund_name
from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.pagination import Item, read_object
from punchcard.destinations.perkville.perks import Direction, Perk, Perks
from punchcard.destinations.perkville.settings import PerkvilleSettings, RefundMethod
from punchcard.destinations.perkville.wire import id_of, is_one_of
from punchcard.destinations.port import Finding
from punchcard.errors import CredentialsError, DeliveryError, RejectedError


async def find_findings(http: PerkvilleHttp, perks: Perks, settings: PerkvilleSettings) -> list[Finding]:
    """One finding for each thing looked at; nothing more is looked at once Perkville cannot be read."""
    findings: list[Finding] = []
    try:
        findings += [await _check_business(http, settings)]
        findings += [await _check_location(http, settings)]
        for perk_id, names in _names_by_perk(settings):
            findings += await _check_perk(perks, settings, perk_id, names)
    except CredentialsError as error:
        findings.append(
            _bad(
                "token",
                f"{error.message}. Generate a new token in Perkville under Settings > Apps, or ask for its scopes",
            )
        )
    except DeliveryError as error:
        findings.append(_bad("Perkville", error.message))
    if not settings.event_to_perk_map:
        findings.append(_bad("eventToPerkMap", "no event is mapped to a perk, so every event ends with an error"))
    # Such a map may be meant, so it is not a failure.
    findings += [
        _good("eventToPerkMap", f"warning: {map_warning.message}")
        for map_warning in find_map_warnings(settings.event_to_perk_map)
    ]
    return findings


async def verify_account(http: PerkvilleHttp, settings: PerkvilleSettings) -> None:
    """See that the token is good for this business, and the location is one of its own.

    Raises:
        CredentialsError: Perkville does not accept the token.
        RejectedError: business or location is not there, not theirs, or not active.
        RetryableError: Perkville cannot be asked at the moment.
    """
    for finding in (await _check_business(http, settings), await _check_location(http, settings)):
        if not finding.ok:
            raise RejectedError(f"{finding.subject}: {finding.message}", code="account_unknown")


async def _check_business(http: PerkvilleHttp, settings: PerkvilleSettings) -> Finding:
    subject = f"business {settings.business_id}"
    business = await _read(http, settings, settings.wire.businesses_path, settings.business_id)
    if business is None:
        return _bad(subject, "it does not exist at Perkville, or the token's owner is not one of its staff")
    return _state(subject, business, settings) or _good(subject, f"it exists, and the token is good{_name(business)}")


async def _check_location(http: PerkvilleHttp, settings: PerkvilleSettings) -> Finding:
    subject = f"location {settings.location_id}"
    location = await _read(http, settings, settings.wire.locations_path, settings.location_id)
    if location is None:
        return _bad(subject, "it does not exist at Perkville")
    owner = id_of(location.get(settings.wire.business_key))
    if owner not in (None, settings.business_id):
        return _bad(subject, f"it belongs to business {owner}, not to {settings.business_id}")
    return _state(subject, location, settings) or _good(subject, f"it exists{_name(location)}")


async def _check_perk(perks: Perks, settings: PerkvilleSettings, perk_id: str, names: list[str]) -> list[Finding]:
    subject = f"perk {perk_id}"
    mapped = ", ".join(f'"{name}"' for name in names)
    try:
        perk = await perks.read(perk_id, deadline=_deadline(settings))
    except RejectedError as error:
        return [_bad(subject, f"{error.message}; mapped to it: {mapped}")]
    problems = list(_perk_problems(perk, settings, names))
    if problems:
        return [_bad(subject, problem) for problem in problems]
    title = f' ("{perk.title}")' if perk.title else ""
    good = _good(subject, f"it exists{title}, {perk.direction.value} points; mapped to it: {mapped}")
    return [good, *(_good(f'event "{name}"', note) for name in names for note in _notes(perk, name))]


def _perk_problems(perk: Perk, settings: PerkvilleSettings, names: list[str]) -> Iterator[str]:
    if perk.is_active is False:
        yield "it is not active"
    if perk.business_id not in (None, settings.business_id):
        yield f"it belongs to business {perk.business_id}, not to {settings.business_id}"
    if perk.direction is Direction.UNCLEAR:
        yield (
            f"Perkville calls it {perk.classification}: it is not known whether it gives or takes points, so nothing "
            "is booked on it"
        )
        return
    for name in names:
        yield from _direction_problems(perk, settings.refund_method, name)


def _direction_problems(perk: Perk, method: RefundMethod, name: str) -> Iterator[str]:
    if perk.direction is Direction.REDEEMS:
        if not is_refund_name(name):
            yield f'it redeems, so awards for "{name}" would take points away and are refused: map a perk that earns'
        elif method is RefundMethod.NEGATIVE:
            yield f'it redeems, and refundMethod is negative: "{name}" would give points and is refused'
    elif method is RefundMethod.REDEEM and is_refund_name(name):
        yield f'it earns, but refundMethod is redeem: "{name}" needs a perk that redeems'


def _notes(perk: Perk, name: str) -> Iterator[str]:
    if not is_refund_name(name):
        return
    if perk.direction is Direction.REDEEMS:
        yield (
            "note: it removes points only if it comes with an order_id; without one it is refused, as its perk redeems"
        )
    else:
        yield (
            "note: it removes points only if it comes with an order_id; without one it awards 1. Points are removed by "
            "a negative quantity, which Perkville does not document: a perk that redeems is safer"
        )


async def _read(http: PerkvilleHttp, settings: PerkvilleSettings, path: str, item_id: str) -> Item | None:
    try:
        return await read_object(http, settings, path, item_id, deadline=_deadline(settings))
    except RejectedError as error:
        if error.status == 404:
            return None
        raise


def _state(subject: str, item: Item, settings: PerkvilleSettings) -> Finding | None:
    status = item.get(settings.wire.status_key)
    if isinstance(status, str) and not is_one_of(status, settings.wire.active_statuses):
        return _bad(subject, f"it is not active: Perkville says {status}")
    return None


def _names_by_perk(settings: PerkvilleSettings) -> Iterator[tuple[str, list[str]]]:
    pairs = sorted((perk, name) for name, perk in settings.event_to_perk_map.items())
    for perk, group in groupby(pairs, key=lambda pair: pair[0]):
        yield perk, [name for _, name in group]


def _deadline(settings: PerkvilleSettings) -> Deadline:
    return Deadline(settings.delivery.request_timeout_seconds)


def _name(item: Item) -> str:
    name = item.get("name")
    return f' ("{name[:100]}")' if isinstance(name, str) and name else ""


def _good(subject: str, message: str) -> Finding:
    return Finding(ok=True, subject=subject, message=message)


def _bad(subject: str, message: str) -> Finding:
    return Finding(ok=False, subject=subject, message=message)
