"""Entries of the side navigation."""

from dataclasses import dataclass

from punchcard.store.access.token_store import Role


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry.

    Attributes:
        needs: Role that is required to see it.
    """

    label: str
    path: str
    icon: str
    needs: Role = Role.READ_ONLY


ENTRIES = (
    Entry(label="Home", path="/", icon="home"),
    Entry(label="Alerts", path="/alerts", icon="alert-triangle"),
    Entry(label="Customers", path="/customers", icon="users"),
    Entry(label="Audiences", path="/audiences", icon="users-group"),
    Entry(label="Events", path="/events", icon="activity"),
    Entry(label="Sources", path="/sources", icon="arrow-bar-to-right"),
    Entry(label="Destinations", path="/destinations", icon="gift"),
    Entry(label="Catalog", path="/catalog", icon="layout-grid"),
    Entry(label="Protocols", path="/protocols", icon="circle-check"),
    Entry(label="Privacy", path="/privacy", icon="user-question"),
    Entry(label="Settings", path="/settings", icon="settings"),
    Entry(label="Docs", path="/docs", icon="book"),
)
"""Entries in display order."""


def is_current(entry: Entry, path: str) -> bool:
    """Return True if a page belongs to the entry."""
    return path == entry.path or (entry.path != "/" and path.startswith(entry.path + "/"))
