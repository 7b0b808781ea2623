"""Enumerations for values of the store, where another version of Punchcard may have written others."""

from enum import StrEnum
from typing import Self


class StoredEnum(StrEnum):
    """An enumeration that reads a value it does not list as a member of its own, with just that value.

    A restored copy, a downgrade or a hand that edits the database can bring such values. A page then shows the raw
    value, and no comparison with a listed member is true. Input from outside is checked against `set(TheEnum)`, which
    holds the listed members only.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member
