"""Event names as people spell them: which of them look alike, and which maps of them will surprise. Pure."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from punchcard.destinations.definition import Definition

_SEPARATORS: Final = re.compile(r"[\W_]+")
_WORD_BORDERS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Words for things that are tracked several times until they are over, each time with the same order id.
_ORDER_WORDS: Final = frozenset(
    {
        *("order", "ordered", "purchase", "purchased", "checkout", "transaction", "sale", "payment", "invoice"),
        "invoiced",
    }
)
_TAKEN_BACK_WORDS: Final = frozenset(
    {
        *("cancelled", "canceled", "cancellation", "cancel", "returned", "return", "voided", "void", "reversed"),
        *("reversal", "chargeback", "failed", "declined", "rejected", "abandoned", "disputed"),
    }
)
_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class MapWarning:
    """Something about a map of event names that may surprise.

    Attributes:
        names: The names it is about, in the order of the map.
        message: What is surprising and what to do, in sentences.
    """

    names: tuple[str, ...]
    message: str


def folded_event_name(name: str) -> str:
    """Return the name without what a reader overlooks: case, blanks, underscores, hyphens and the form of Unicode.

    `Order Completed`, ` order_completed`, `OrderCompleted` and `ORDER-COMPLETED` are folded to the same text.
    """
    compatible = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(letter for letter in compatible if unicodedata.category(letter) not in ("Cf", "Cc"))
    # A name of nothing but signs is not like every other such name.
    return _SEPARATORS.sub("", visible) or visible


def is_refund_name(name: str) -> bool:
    """Return whether points are removed if an event of this name comes with an order id."""
    return "refund" in name.casefold()


def mapped_names(definition: Definition, settings: Mapping[str, object]) -> list[str]:
    """Return the event names that the settings of a destination map, in their order."""
    field = definition.event_map
    names = None if field is None else settings.get(field.key)
    return [str(name) for name in names] if isinstance(names, Mapping) else []


def find_map_warnings(names: Collection[str]) -> Sequence[MapWarning]:
    """Return what may surprise about a map with these event names.

    Args:
        names: The names that are mapped, in the order of the map.
    """
    return [*_blank_warnings(names), *_alike_warnings(names), *_cycle_warnings(names), *_taken_back_warnings(names)]


def near_names(names: Collection[str], counts: Mapping[str, int]) -> Mapping[str, Sequence[str]]:
    """Return for each of the names the other spellings of it among those that were received, most frequent first."""
    by_folded: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda count: (-counts[count], count)):
        by_folded[folded_event_name(name)].append(name)
    return {name: [alike for alike in by_folded[folded_event_name(name)] if alike not in names] for name in names}


def _blank_warnings(names: Collection[str]) -> Iterator[MapWarning]:
    for name in names:
        if name != name.strip():
            yield MapWarning(
                names=(name,),
                message=f'"{name}" begins or ends with a blank. An event is found only if its name has the same blank.',
            )


def _alike_warnings(names: Collection[str]) -> Iterator[MapWarning]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[folded_event_name(name)].append(name)
    for spellings in alike.values():
        if len(spellings) > 1:
            yield MapWarning(
                names=tuple(spellings),
                message=f"{_listed(spellings)} differ only in case, blanks, underscores, hyphens or the form of "
                "Unicode. Each is an event of its own: what is sent under several of these names may earn several "
                "times.",
            )


def _cycle_warnings(names: Collection[str]) -> Iterator[MapWarning]:
    cycle = [name for name in names if not is_refund_name(name) and _words(name) & _ORDER_WORDS]
    # Spellings of one name have their own warning.
    moments = len({folded_event_name(name) for name in cycle})
    if moments > 1:
        yield MapWarning(
            names=tuple(cycle),
            message=f"{_listed(cycle)} tell of the same order at several moments. Each of them that comes with an "
            f"order_id awards the whole amount: an order of 50 earns {50 * moments}. Map only the one that says "
            "that the order is paid.",
        )


def _taken_back_warnings(names: Collection[str]) -> Iterator[MapWarning]:
    for name in names:
        words = _words(name)
        if not is_refund_name(name) and words & _TAKEN_BACK_WORDS and words & _ORDER_WORDS:
            yield MapWarning(
                names=(name,),
                message=f'"{name}" awards points. Points are taken away only by events with "Refund" in their name.',
            )


def _words(name: str) -> set[str]:
    """The lower-case words of a name, plurals as singulars: `OrdersPaid` is `order` and `paid`."""
    spaced = _WORD_BORDERS.sub(" ", unicodedata.normalize("NFKC", name))
    words = {word for word in _SEPARATORS.split(spaced.casefold()) if word}
    return words | {word.removesuffix("s") for word in words}


def _listed(names: Sequence[str]) -> str:
    shown = [f'"{name}"' for name in names[:_NAMES_SHOWN]]
    if len(names) > _NAMES_SHOWN:
        return f"{', '.join(shown)} and {len(names) - _NAMES_SHOWN} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
