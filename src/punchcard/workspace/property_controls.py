"""Controls of the properties of sources and destinations: what is wrong with them, and what they may break."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from punchcard.filters.transformation_definitions import split_path
from punchcard.workspace.model import Destination, PropertyControls, Source, Workspace
from punchcard.workspace.part_names import name_destinations, name_parts, name_sources
from punchcard.workspace.persistence import parts_by_key
from punchcard.workspace.problems import KeyPath, Problem

CONTROLS_MAX: Final = 200
PATH_CHARACTERS_MAX: Final = 300
CONTROL_KINDS: Final = ("drop", "mask", "hash")
_MONEY: Final = "the amounts of awards"
_USES: Final = {
    "email": "identity and awards",
    "orderid": "the recognition of repeated orders",
    **dict.fromkeys(("revenue", "total", "subtotal", "value", "price", "quantity", "products"), _MONEY),
}
SECTIONS: Final = ("properties", "traits", "context")


def control_problems(path: KeyPath, controls: PropertyControls) -> Iterator[Problem]:
    """Yield the problems of the controls of a source or destination."""
    names = [(kind, name) for kind in CONTROL_KINDS for name in getattr(controls, kind)]
    if len(names) > CONTROLS_MAX:
        yield Problem(path=path, message=f"Has {len(names)} names. At most {CONTROLS_MAX} are allowed.")
    counts = Counter(name for _, name in names)
    for kind, name in names:
        parts = split_path(name)
        if parts[0] not in SECTIONS or len(parts) < 2 or not all(parts):
            message = f'"{name}" is not possible here. Begin with {", ".join(f"{section}." for section in SECTIONS)}'
            yield Problem(path=(*path, kind), message=f"{message} and end with the name of a property or trait.")
        elif len(name) > PATH_CHARACTERS_MAX:
            message = f"A path has at most {PATH_CHARACTERS_MAX} characters."
            yield Problem(path=(*path, kind), message=message)
        elif counts[name] > 1:
            yield Problem(path=(*path, kind), message=f'"{name}" is listed more than once. Choose one control for it.')


def control_values(controls: PropertyControls) -> dict[str, list[str]]:
    """Return the controls that are not empty, as in a config file."""
    values: dict[str, list[str]] = msgspec.to_builtins(controls)
    return {kind: list(names) for kind, names in values.items() if names}


def find_control_warnings(before: Workspace, after: Workspace) -> list[str]:
    """Return warnings about new controls of properties by which awards, identity, audiences or filters work."""
    names = name_parts(parts_by_key(after))
    destinations = name_destinations(after.destinations)
    texts = [(f"audience or trait {names[part.kind, part.key]}", part.definition) for part in after.computations]
    texts += [
        (f"filter {rule.title} of {destinations[destination.slug]}", rule.condition)
        for destination in after.destinations
        for rule in destination.filters
    ]
    # The values that a destination gets are changed behind its filters, and audiences see the original.
    return [
        *_warnings_of(before.sources, after.sources, texts, name_sources(after.sources)),
        *_warnings_of(before.destinations, after.destinations, (), destinations),
    ]


def _warnings_of(
    before: Sequence[Source | Destination],
    after: Sequence[Source | Destination],
    texts: Sequence[tuple[str, str]],
    titles: Mapping[str, str],
) -> Iterator[str]:
    existing = {part.slug: control_paths(part.controls) for part in before}
    for part in after:
        for name in sorted(control_paths(part.controls) - existing.get(part.slug, set())):
            leaf = split_path(name)[-1]
            use = _USES.get(leaf.replace("_", "").lower())
            users = [] if use is None else [use]
            users += [user for user, text in texts if re.search(rf"\b{re.escape(leaf)}\b", text)]
            if users:
                yield f"{titles[part.slug]}: {name} is controlled, but used by {', '.join(users)}."


def control_paths(controls: PropertyControls) -> set[str]:
    """Return the paths that have a control."""
    return {*controls.drop, *controls.mask, *controls.hash}
