"""Ids of filters: a file gives none, so a filter keeps the id that one of its title has had."""

import hashlib
from dataclasses import replace

from punchcard.workspace.model import Destination, DestinationFilter


def assign_filter_ids(wanted: Destination, standing: Destination | None) -> Destination:
    """The destination with an id for each filter. The same filters get the same ids at any time."""
    taken = {one.id for one in wanted.filters if one.id}
    by_title: dict[str, list[str]] = {}
    for one in standing.filters if standing else ():
        if one.id and one.id not in taken:
            by_title.setdefault(one.title, []).append(one.id)
    destination_filters: list[DestinationFilter] = []
    for one in wanted.filters:
        id_ = one.id
        if not id_:
            known = by_title.get(one.title)
            id_ = known.pop(0) if known else _new_id(wanted.slug, one.title, taken)
            taken.add(id_)
        destination_filters.append(replace(one, id=id_))
    return replace(wanted, filters=tuple(destination_filters))


def _new_id(slug: str, title: str, taken: set[str]) -> str:
    number = 0
    while True:
        text = f"{slug}\n{title}\n{number}".encode("utf-8", "surrogatepass")
        id_ = f"flt_{hashlib.sha256(text).hexdigest()[:16]}"
        if id_ not in taken:
            return id_
        number += 1
