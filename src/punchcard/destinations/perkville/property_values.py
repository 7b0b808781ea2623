"""The values that a user property of Perkville can hold: text, a number, true or false, no list."""

import json

_SEPARATOR = ", "


def property_value(value: object) -> object:
    """Return a trait's value as a user property holds it: a list becomes its entries, joined by a comma and a space.

    `["Shoes", "Hats", 3, true]` → `"Shoes, Hats, 3, true"`; entries that are null are left out.
    """
    if not isinstance(value, list):
        return value
    return _SEPARATOR.join(_entry_text(entry) for entry in value if entry is not None)


def _entry_text(entry: object) -> str:
    return entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False, default=str)
