"""The perks that event names can be mapped to, for the editor of the map."""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Final

from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.pagination import read_list
from punchcard.destinations.perkville.perks import Direction, Perk, Perks, read_perk
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import id_of
from punchcard.destinations.port import MappingChoice
from punchcard.errors import DeliveryError

_FOREIGN_PERKS_MAX: Final = 20  # each is a request, and a page may wait for them


async def list_mapping_choices(
    http: PerkvilleHttp, perks_reader: Perks, settings: PerkvilleSettings
) -> Sequence[MappingChoice]:
    """The perks of the business, by title; those that redeem or cannot be used come with a note.

    Mapped perks of another business are among them: if the business id is wrong, people see that, and what was awarded
    before has a title and points still.

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
    async for perk in _foreign_perks(perks_reader, settings, known=perks, deadline=deadline):
        perks[perk.id] = perk
    choices = (_mapping_choice(perk, settings) for perk in perks.values())
    return sorted(choices, key=lambda choice: (bool(choice.note), choice.title.lower(), choice.value))


async def _foreign_perks(
    perks_reader: Perks, settings: PerkvilleSettings, *, known: Collection[str], deadline: Deadline
) -> AsyncIterator[Perk]:
    missing = sorted(set(settings.event_to_perk_map.values()) - set(known))
    for perk_id in missing[:_FOREIGN_PERKS_MAX]:
        try:
            perk = await perks_reader.read(perk_id, deadline=deadline)
        except DeliveryError:
            continue  # most likely there is no such perk; the others are of use without it
        yield perk


def _mapping_choice(perk: Perk, settings: PerkvilleSettings) -> MappingChoice:
    points = perk.points
    if points is not None and perk.direction is Direction.REDEEMS:
        points = -points
    return MappingChoice(value=perk.id, title=perk.title, points=points, note="; ".join(_notes(perk, settings)))


def _notes(perk: Perk, settings: PerkvilleSettings) -> Iterator[str]:
    if perk.business_id not in (None, settings.business_id):
        yield f"belongs to business {perk.business_id}, not to {settings.business_id}"
    if perk.is_active is False:
        yield "not active"
    if perk.direction is Direction.REDEEMS:
        yield "redeems: for refunds only"
    if perk.direction is Direction.UNCLEAR:
        yield f"Perkville calls it {perk.classification}: it cannot be used"
