"""The JSON bodies of audiences and computed traits, in Segment's shapes."""

from typing import Any, Literal

import msgspec

from punchcard.api import bodies
from punchcard.workspace.computations import REAL_TIME

Kind = Literal["audience", "computed_trait"]


class Definition(msgspec.Struct):
    """What a computation asks: `query` in the query language, `model` the same as JSON."""

    query: str
    model: dict[str, Any]
    type: Literal["USERS"] = "USERS"


class DefinitionOrder(msgspec.Struct):
    """What a computation is to ask: as `query`, as `model`, or as both if they mean the same."""

    query: str | None = None
    model: dict[str, Any] | None = None
    type: Literal["USERS"] = "USERS"


class Options(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Segment's options of an audience."""

    include_anonymous_users: bool = False
    include_historical_data: bool = True


class OptionsUpdate(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to change of the options; whether anonymous people count is said when a computation is made."""

    include_anonymous_users: bool | None = None
    include_historical_data: bool | None = None


class Size(msgspec.Struct):
    """How many people it holds."""

    count: int
    type: str = "USERS"


class Cadence(msgspec.Struct):
    """How it is kept up to date."""

    type: Literal["REALTIME", "BATCH"] = "REALTIME"


class FailedSyncView(msgspec.Struct, rename="camel"):
    """A value that the destination does not have: `state` is `rejected` or `parked`."""

    email: str
    value: msgspec.Raw
    state: str
    reason: str
    detail: str
    at: str | None


class OutcomeView(msgspec.Struct, rename="camel"):
    """What became of the calls about a computation at one destination; `failed` has the newest ten of `failedCount`."""

    synced: int
    no_connection: int
    retrying: int
    parked: int
    rejected: int
    failed_count: int
    failed: list[FailedSyncView]


class SyncView(msgspec.Struct, rename="camel"):
    """What a destination is still to be told: `seconds` is an estimate, null without a rate."""

    destination: str
    queued: int
    without_email: int
    too_large: int
    invalid: int
    failed: int
    refused: int
    cut_lists: int
    warnings: list[str]
    seconds: float | None
    paused_since: str | None
    outcome: OutcomeView | None


class ComputationView(msgspec.Struct, rename="camel"):
    """An audience or computed trait. Ours besides Segment's: `destinations`, `send`, `sync`, `whenRemoved`, `syncs`."""

    id: str
    space_id: str
    name: str
    description: str
    key: str
    enabled: bool
    definition: Definition
    status: str
    detail: str
    options: Options
    compute_cadence: Cadence
    size: Size
    created_by: str
    created_at: str
    updated_by: str
    updated_at: str
    computed_at: str | None
    checked_at: str | None
    differences: int
    destinations: list[str]
    send: list[str]
    sync: str
    when_removed: str
    syncs: list[SyncView]


class SavedAudience(msgspec.Struct):
    """An audience that was saved. `warnings` say which events, properties and traits in its definition nobody has."""

    audience: ComputationView
    warnings: list[str]


class SavedTrait(msgspec.Struct, rename="camel"):
    """A computed trait that was saved, with the same warnings."""

    computed_trait: ComputationView
    warnings: list[str]


class NewComputation(msgspec.Struct, rename="camel"):
    """A computation to create; a key is made of the name if none is given, and never changes."""

    name: str
    definition: DefinitionOrder
    key: str | None = None
    audience_type: Literal["USERS"] = "USERS"
    description: str = ""
    enabled: bool = True
    options: Options = msgspec.field(default_factory=Options)
    destinations: list[str] = []
    send: list[str] = msgspec.field(default_factory=lambda: ["identify"])
    sync: str = REAL_TIME
    when_removed: str = "keep"


class ComputationUpdate(msgspec.Struct, rename="camel"):
    """What to change of a computation; what is left out stays. `key` and `computeCadence` can only be what they are."""

    name: str | None = None
    key: str | None = None
    definition: DefinitionOrder | None = None
    options: OptionsUpdate | None = None
    compute_cadence: Cadence | None = None
    description: str | None = None
    enabled: bool | None = None
    destinations: list[str] | None = None
    send: list[str] | None = None
    sync: str | None = None
    when_removed: str | None = None


class AudiencePage(msgspec.Struct):
    """A page of audiences."""

    audiences: list[ComputationView]
    pagination: bodies.Pagination


class TraitPage(msgspec.Struct, rename="camel"):
    """A page of computed traits."""

    computed_traits: list[ComputationView]
    pagination: bodies.Pagination


class PreviewOrder(msgspec.Struct, rename="camel"):
    """A definition to be tried; `kind` is `audience` or `computed_trait`."""

    definition: DefinitionOrder
    options: Options = msgspec.field(default_factory=Options)
    kind: Kind = "audience"


class TraitPreviewOrder(msgspec.Struct):
    """A computed trait's definition to be tried."""

    definition: DefinitionOrder
    options: Options = msgspec.field(default_factory=Options)


class PreviewSample(msgspec.Struct, rename="camel"):
    """Somebody whom the definition holds."""

    external_ids: list[dict[str, str]]
    value: msgspec.Raw


class PreviewView(msgspec.Struct, rename="camel"):
    """What a definition would hold now."""

    id: str
    status: str
    definition: Definition
    size: Size
    people: int
    results: list[PreviewSample]
    warnings: list[str]
    seconds: float


class ResyncOrder(msgspec.Struct):
    """Tell destinations of everybody again: one of them, or all."""

    destination: str | None = None
