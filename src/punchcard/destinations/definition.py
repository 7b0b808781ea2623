"""A destination definition as data: forms, validation, config-file checks and reference pages are derived from it."""

from dataclasses import dataclass, field
from enum import StrEnum

from punchcard.destinations.reasons import Reason
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
    """A setting of a destination.

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
        is_event_map: True for the text-map with event names as its names. A definition has one at most.
        value_label: What the values of an event map are, in lower case and the singular.
        is_code: True if a form shows a text in several lines, in a fixed-width font.
        is_filled: True for an option that the form for a new destination shows too, folded away.
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
    is_event_map: bool = False
    value_label: str = "value"
    is_code: bool = False
    is_filled: bool = False


class Capability(StrEnum):
    """What a destination can do beyond performing effects. App and API show a feature only where it is declared."""

    VALUE_CHOICES = "value_choices"  # lists the values that event names can be mapped to
    BALANCES = "balances"  # knows the balance of a customer
    AMOUNTS = "amounts"  # its effects have a quantity that can be added up by item
    PREPARATION = "preparation"  # decides the amount of a refund by its order's rows, when it is claimed
    CORRECTIONS = "corrections"  # gives an effect another content: what it has booked can be changed by a difference
    RECONCILE = "reconcile"  # lists what it has booked, to be compared with the ledger
    DELETION = "deletion"  # passes requests to delete a user on to the partner
    EVENT_SETTINGS = "event_settings"  # an event may bring its own settings (partner endpoint)


@dataclass(frozen=True, kw_only=True)
class KindDefinition:
    """A kind of effect.

    Attributes:
        name: As the outbox stores it, e.g. `webhook_call`.
        label: As pages show it, e.g. `Webhook call`.
        has_item: True if its effects have an item and a quantity.
    """

    name: str
    label: str
    has_item: bool = False


class LedgerColumn(StrEnum):
    """The columns of the ledger that a destination has its own names for."""

    ITEM = "item"  # what an effect gives or takes
    QUANTITY = "quantity"  # how many units of it, signed
    PARTNER_ID = "partner_id"  # the destination's id of what it stored


@dataclass(frozen=True, kw_only=True)
class SummaryColumn:
    """A column of the ledger under the destination's own name.

    Attributes:
        member: Its member in the API and in exports, in camelCase, e.g. `reward`.
        label: Its name on pages, in sentence case, e.g. `Reward`.
    """

    column: LedgerColumn
    member: str
    label: str


def default_column(column: LedgerColumn) -> SummaryColumn:
    """Return a column under its own name, for a destination that has none for it."""
    return SummaryColumn(column=column, member=column.value, label=column.value.replace("_", " ").capitalize())


@dataclass(frozen=True, kw_only=True)
class ReopenedReasons:
    """The reasons for which an effect that depends on its order has ended, and is prepared again.

    Attributes:
        on_any_end: Parked effects, prepared again when another effect of the order ends or its event is refused.
        on_delivery: Rejected effects, prepared again when another effect of the order is delivered.
        on_correction: Parked and rejected effects, prepared again when a correction of the order is delivered.
    """

    on_any_end: frozenset[str] = frozenset()
    on_delivery: frozenset[str] = frozenset()
    on_correction: frozenset[str] = frozenset()


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
        kinds: The kinds of effects that its mapping returns.
        summary_columns: What API, exports, pages and traces show of an effect beside its key and customer, in order.
        reopened: With `Capability.PREPARATION`: which effects are prepared again after they have ended.
        managed_prefix: Begin of the identifiers of sources and destinations that are added for callers of its partner
            endpoint; "" for `partner-<slug>`.
        capabilities: What it can do beyond performing effects.
        reasons: The reason codes that only this destination gives, with their texts.
        deletion: What happens to a request to delete a user's data, in a sentence for its page; "" if nothing does.
        delivery_note: What a reader must know of how often a receiver may get the same event, in a sentence.
        add_steps: How to get the values of its settings, a step each, for the form that adds it.
        more_options: The label of the options that this form folds away.
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
    kinds: tuple[KindDefinition, ...] = ()
    summary_columns: tuple[SummaryColumn, ...] = ()
    reopened: ReopenedReasons = field(default_factory=ReopenedReasons)
    managed_prefix: str = ""
    capabilities: frozenset[Capability] = frozenset()
    reasons: tuple[Reason, ...] = ()
    deletion: str = ""
    delivery_note: str = ""
    add_steps: tuple[str, ...] = ()
    more_options: str = "More options"

    @property
    def item_kind(self) -> str | None:
        """The kind of the effects that have an item and a quantity, None if there is none."""
        return next((kind.name for kind in self.kinds if kind.has_item), None)

    def summary_column(self, column: LedgerColumn) -> SummaryColumn:
        """Return what the destination calls a column of the ledger; the column's own name by default."""
        return next((shown for shown in self.summary_columns if shown.column is column), default_column(column))

    @property
    def event_map(self) -> SettingField | None:
        """The setting that maps event names, None if it has none."""
        return next((field for field in self.settings if field.is_event_map), None)
