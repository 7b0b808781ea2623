"""Ids of filters. Config files contain none, so a filter gets the id of the stored filter with the same title."""

import hashlib
from dataclasses import replace

from punchcard.workspace.model import Destination, DestinationFilter


def assign_filter_ids(desired: Destination, current: Destination | None) -> Destination:
    """Return the destination with an id for each filter. Ids are deterministic: the same filters get the same ids."""
    used_ids = {destination_filter.id for destination_filter in desired.filters if destination_filter.id}
    by_title: dict[str, list[str]] = {}
    for destination_filter in current.filters if current else ():
        if destination_filter.id and destination_filter.id not in used_ids:
            by_title.setdefault(destination_filter.title, []).append(destination_filter.id)
    destination_filters: list[DestinationFilter] = []
    for destination_filter in desired.filters:
        id_ = destination_filter.id
        if not id_:
            known = by_title.get(destination_filter.title)
            id_ = known.pop(0) if known else _new_id(desired.slug, destination_filter.title, used_ids)
            used_ids.add(id_)
        destination_filters.append(replace(destination_filter, id=id_))
    return replace(desired, filters=tuple(destination_filters))


def _new_id(slug: str, title: str, used_ids: set[str]) -> str:
    number = 0
    while True:
        text = f"{slug}\n{title}\n{number}".encode("utf-8", "surrogatepass")
        id_ = f"flt_{hashlib.sha256(text).hexdigest()[:16]}"
        if id_ not in used_ids:
            return id_
        number += 1
