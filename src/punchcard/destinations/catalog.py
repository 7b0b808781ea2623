"""The destinations that Punchcard delivers to, by the slug of their definition.

Each folder beside this module is a built-in one: the catalog takes `PARTNER` of its `partner.py`. Other packages add
theirs by an entry point of the group `punchcard.destinations` with the slug as its name. Nothing of such a package is
imported before its destination is asked for; one that cannot be loaded is reported, and leaves all others as they are.
"""

import pkgutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import structlog

from punchcard import destinations
from punchcard.destinations.definition import Definition
from punchcard.destinations.port import Partner

ENTRY_POINT_GROUP: Final = "punchcard.destinations"
_METHODS: Final = ("read_settings", "plan", "supported_calls", "delivery_options", "preview", "client")


def find_entry_points() -> Iterable[EntryPoint]:
    """Return the entry points of other packages. Reads their metadata and imports nothing of them."""
    return entry_points(group=ENTRY_POINT_GROUP)


def built_in_partners() -> list[Partner]:
    """Return the destination of each folder of this package, in the order of their names."""
    folders = sorted(module.name for module in pkgutil.iter_modules(destinations.__path__) if module.ispkg)
    return [import_module(f"{destinations.__name__}.{folder}.partner").PARTNER for folder in folders]


class DestinationCatalog(Mapping[str, Partner]):
    """The destinations by slug. Safe to use from several threads.

    The slug of a package that cannot be loaded is among the keys, and not among the values: `get` returns None for it,
    and `problems` contains the reason.

    Args:
        built_in: Destinations that are there without a package.
        find: Returns the entry points; called once, when the catalog is first used.
    """

    def __init__(
        self, built_in: Iterable[Partner], *, find: Callable[[], Iterable[EntryPoint]] = find_entry_points
    ) -> None:
        self._loaded: dict[str, Partner] = {partner.definition.slug: partner for partner in built_in}
        self._built_in = frozenset(self._loaded)
        self._find = find
        self._entry_points_by_slug: dict[str, EntryPoint] | None = None
        self._problems: dict[str, str] = {}
        self._lock = threading.RLock()
        self._log = structlog.get_logger("punchcard.destinations")

    @property
    def problems(self) -> Mapping[str, str]:
        """Why packages could not be loaded, by slug, of those that have been requested."""
        return dict(self._problems)

    def loaded(self) -> list[Partner]:
        """Return the destinations that have been loaded so far: asks for no package."""
        return list(self._loaded.values())

    def __getitem__(self, slug: str) -> Partner:
        """Return a destination, loading its package if it is not loaded yet."""
        partner = self._loaded.get(slug)
        if partner is not None:
            return partner
        with self._lock:
            if slug not in self._loaded and slug not in self._problems:
                self._load(slug)
            return self._loaded[slug]

    def __iter__(self) -> Iterator[str]:
        """Return all slugs in order, those of packages that are not loaded too."""
        return iter(sorted({*self._built_in, *self._entry_points()}))

    def __len__(self) -> int:
        """Return the number of slugs."""
        return len(set(self))

    def values(self) -> list[Partner]:  # type: ignore[override]  # a list: what cannot be loaded is left out
        """Return every destination that can be loaded."""
        return [partner for slug in self if (partner := self.get(slug)) is not None]

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        with self._lock:
            if self._entry_points_by_slug is None:
                self._entry_points_by_slug = {}
                for entry_point in self._find():
                    if entry_point.name in self._built_in or entry_point.name in self._entry_points_by_slug:
                        self._report(entry_point.name, f"{entry_point.value}: this slug is taken", is_fatal=False)
                    else:
                        self._entry_points_by_slug[entry_point.name] = entry_point
            return self._entry_points_by_slug

    def _load(self, slug: str) -> None:
        entry_point = self._entry_points().get(slug)
        if entry_point is None:
            return
        try:
            loaded = entry_point.load()
            partner = loaded() if isinstance(loaded, type) else loaded
            _check(slug, partner)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a package may fail in any way while it is imported
            self._report(slug, f"{entry_point.value}: {type(error).__name__}: {error}", is_fatal=True)
        else:
            self._loaded[slug] = partner

    def _report(self, slug: str, detail: str, *, is_fatal: bool) -> None:
        if is_fatal:
            self._problems[slug] = detail
        self._log.error("destination_package_not_loaded", destination_type=slug, detail=detail)


def _check(slug: str, partner: object) -> None:
    """Raise if an object is not a destination of that slug."""
    definition = getattr(partner, "definition", None)
    if not isinstance(definition, Definition):
        raise TypeError(f"{partner!r} has no `definition` that is a Definition")
    if definition.slug != slug:
        raise ValueError(f'the entry point is named "{slug}" and its definition has the slug "{definition.slug}"')
    missing = [name for name in _METHODS if not callable(getattr(partner, name, None))]
    if missing:
        raise TypeError(f"{partner!r} lacks {', '.join(missing)}: see punchcard.destinations.port.Partner")


CATALOG: Final = DestinationCatalog(built_in_partners())
