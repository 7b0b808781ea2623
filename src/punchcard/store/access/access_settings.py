"""How operators may sign in: what only owners change."""

from typing import Final

from sqlalchemy import Connection, Select, delete, insert, select

from punchcard.store.access.schema import access_settings
from punchcard.store.values import storable

REQUIRES_TWO_FACTOR: Final = "requires_two_factor"
"""Name of the setting that every operator needs a second factor: "1", or no row."""

OIDC: Final = "oidc"
"""Name of the setting with the identity provider, as JSON with an encrypted client secret."""


def read_setting(work: Connection, name: str) -> str:
    """Return the value of a setting, "" if it is not set."""
    return work.scalar(setting_query(name)) or ""


def write_setting(work: Connection, name: str, value: str) -> None:
    """Store the value of a setting; "" removes it."""
    work.execute(delete(access_settings).where(access_settings.c.name == name))
    if value:
        work.execute(insert(access_settings).values(name=name, value=storable(value)))


def setting_query(name: str) -> Select[tuple[str]]:
    """Return the query of a setting, which is also a part of other queries."""
    return select(access_settings.c.value).where(access_settings.c.name == name)
