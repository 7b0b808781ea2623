"""The perks that event names can be mapped to, for the editor of the map."""

from collections.abc import Iterator, Sequence

from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.pagination import read_list
from punchcard.destinations.perkville.perks import Direction, Perk, read_perk
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import id_of
from punchcard.destinations.port import MappingChoice


async def list_mapping_choices(http: PerkvilleHttp, settings: PerkvilleSettings) -> Sequence[MappingChoice]:
    """The perks of the business, by title; those that redeem or cannot be used come with a note.

    Raises:
        DeliveryError: Perkville could not be read.
    """
    wire = settings.wire
    deadline = Deadline(settings.delivery.request_timeout_seconds)
    perks: dict[str, Perk] = {}
    async for item in read_list(http, settings, wire.perks_path, email=None, deadline=deadline):
        perk_id = id_of(item.get(wire.perk_id_key)) or id_of(item.get(wire.resource_uri_key))
        if perk_id is None:
            continue
        perk = read_perk(item, perk_id, wire)
        if perk.business_id in (None, settings.business_id):
            perks[perk_id] = perk
    return sorted(
        map(_mapping_choice, perks.values()), key=lambda choice: (bool(choice.note), choice.title.lower(), choice.value)
    )


def _mapping_choice(perk: Perk) -> MappingChoice:
    points = perk.points
    if points is not None and perk.direction is Direction.REDEEMS:
        points = -points
    return MappingChoice(value=perk.id, title=perk.title, points=points, note="; ".join(_notes(perk)))


def _notes(perk: Perk) -> Iterator[str]:
    if perk.is_active is False:
        yield "not active"
    if perk.direction is Direction.REDEEMS:
        yield "redeems: for refunds only"
    if perk.direction is Direction.UNCLEAR:
        yield f"Perkville calls it {perk.classification}: it cannot be used"
