"""A destination definition as data: forms, validation, config-file checks and reference pages are derived from it."""

from dataclasses import dataclass
from enum import StrEnum

from punchcard.events.model import EventType


class FieldType(StrEnum):
    """The type of a setting, in Segment's catalog words."""

    STRING = "string"  # text
    BOOLEAN = "boolean"  # true or false
    NUMBER = "number"  # a number of the unit in its key
    SELECT = "select"  # one of `choices`
    ARRAY = "array"  # a list of text
    TEXT_MAP = "text-map"  # text to text, edited as rows


@dataclass(frozen=True, kw_only=True)
class SettingField:
    """One setting of a destination.

    Attributes:
        key: Its key on the wire and in files, camelCase.
        label: Its name in a form.
        description: One or two sentences of help.
        default: The value used if left out; None if there is none.
        secret: True if it is encrypted at rest and masked in output.
        choices: The values of a `select`.
        minimum: The smallest number allowed, None for no bound.
        maximum: The largest number allowed, None for no bound.
        whole: True if a number must be a whole one.
    """

    key: str
    label: str
    description: str
    type: FieldType
    required: bool = False
    default: object = None
    secret: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The catalog entry of a destination.

    Attributes:
        id: Segment's catalog id.
        slug: Its word in config files.
        name: Its name, also its key in the `integrations` object.
        supported: The calls it takes.
        settings: The partner's settings, in form order.
        options: Our own tuning, each with a default.
    """

    id: str
    slug: str
    name: str
    description: str
    website: str
    categories: tuple[str, ...]
    supported: frozenset[EventType]
    settings: tuple[SettingField, ...]
    options: tuple[SettingField, ...]
