"""The JSON bodies of audiences and computed traits, in Segment's format."""

from typing import Any, Literal

import msgspec

from punchcard.api import bodies
from punchcard.workspace.computations import REAL_TIME

Kind = Literal["audience", "computed_trait"]


class Definition(msgspec.Struct):
    """Definition of a computation: `query` in the query language, `model` the same as JSON."""

    query: str
    model: dict[str, Any]
    type: Literal["USERS"] = "USERS"


class DefinitionOrder(msgspec.Struct):
    """Definition in a request: `query`, `model`, or both if they are equivalent."""

    query: str | None = None
    model: dict[str, Any] | None = None
    type: Literal["USERS"] = "USERS"


class Options(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Options of an audience, as in Segment."""

    include_anonymous_users: bool = False
    include_historical_data: bool = True


class OptionsUpdate(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Options to change. `includeAnonymousUsers` can only be set when a computation is created."""

    include_anonymous_users: bool | None = None
    include_historical_data: bool | None = None


class Size(msgspec.Struct):
    """Number of people."""

    count: int
    type: str = "USERS"


class Cadence(msgspec.Struct):
    """How the computation is kept up to date."""

    type: Literal["REALTIME", "BATCH"] = "REALTIME"


class FailedSyncView(msgspec.Struct, rename="camel"):
    """A value that was not delivered to the destination. `state` is `rejected` or `parked`."""

    email: str
    value: msgspec.Raw
    state: str
    reason: str
    detail: str
    at: str | None


class OutcomeView(msgspec.Struct, rename="camel"):
    """Outcome of the syncs to one destination. `failed` has the newest ten of `failedCount` failed syncs."""

    synced: int
    no_connection: int
    retrying: int
    parked: int
    rejected: int
    failed_count: int
    failed: list[FailedSyncView]


class SyncView(msgspec.Struct, rename="camel"):
    """Pending syncs to one destination. `seconds` is an estimate, null without a rate limit."""

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
    """An audience or computed trait. `destinations`, `send`, `sync`, `whenRemoved` and `syncs` are Punchcard's own."""

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
    """A saved audience. `warnings` name unknown events, properties and traits in its definition."""

    audience: ComputationView
    warnings: list[str]


class SavedTrait(msgspec.Struct, rename="camel"):
    """A saved computed trait. `warnings` name unknown events, properties and traits in its definition."""

    computed_trait: ComputationView
    warnings: list[str]


class NewComputation(msgspec.Struct, rename="camel"):
    """A computation to create. Without a key, one is derived from the name. The key never changes."""

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
    """Members to change; absent members stay. `key` and `computeCadence` must have their current values."""

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
    """A definition to preview. `kind` is `audience` or `computed_trait`."""

    definition: DefinitionOrder
    options: Options = msgspec.field(default_factory=Options)
    kind: Kind = "audience"


class TraitPreviewOrder(msgspec.Struct):
    """A computed trait's definition to preview."""

    definition: DefinitionOrder
    options: Options = msgspec.field(default_factory=Options)


class PreviewSample(msgspec.Struct, rename="camel"):
    """A person who matches the definition."""

    external_ids: list[dict[str, str]]
    value: msgspec.Raw


class PreviewView(msgspec.Struct, rename="camel"):
    """Preview of a definition."""

    id: str
    status: str
    definition: Definition
    size: Size
    people: int
    results: list[PreviewSample]
    warnings: list[str]
    seconds: float


class ResyncOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A resync of one destination, or of all."""

    destination: str | None = None
