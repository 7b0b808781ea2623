"""The JSON bodies of audiences and computed traits, in Segment's shapes."""

from typing import Literal

import msgspec

from punchcard.api import bodies
from punchcard.workspace.computations import REAL_TIME

Kind = Literal["audience", "computed_trait"]


class Definition(msgspec.Struct, omit_defaults=True):
    """What a computation asks: `query` in the query language, `model` the same as JSON."""

    query: str
    type: str = "USERS"
    model: msgspec.Raw | None = None


class Options(msgspec.Struct, rename="camel"):
    """Segment's options of an audience."""

    include_anonymous_users: bool = False
    include_historical_data: bool = True


class Size(msgspec.Struct):
    """How many people it holds."""

    count: int
    type: str = "USERS"


class Cadence(msgspec.Struct):
    """How it is kept up to date."""

    type: str = "REALTIME"


class SyncView(msgspec.Struct, rename="camel"):
    """What a destination is still to be told: `seconds` is an estimate, null without a rate."""

    destination: str
    queued: int
    without_email: int
    seconds: float | None
    paused_since: str | None


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


class NewComputation(msgspec.Struct, rename="camel"):
    """A computation to create; a key is made of the name if none is given, and never changes."""

    name: str
    definition: Definition
    key: str | None = None
    description: str = ""
    enabled: bool = True
    options: Options = msgspec.field(default_factory=Options)
    destinations: list[str] = []
    send: list[str] = msgspec.field(default_factory=lambda: ["identify"])
    sync: str = REAL_TIME
    when_removed: str = "keep"


class ComputationUpdate(msgspec.Struct, rename="camel"):
    """What to change of a computation; what is left out stays."""

    name: str | None = None
    definition: Definition | None = None
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

    definition: Definition
    options: Options = msgspec.field(default_factory=Options)
    kind: Kind = "audience"


class PreviewSample(msgspec.Struct, rename="camel"):
    """Somebody whom the definition holds."""

    external_ids: list[dict[str, str]]
    value: msgspec.Raw


class PreviewView(msgspec.Struct, rename="camel"):
    """What a definition would hold now."""

    id: str
    status: str
    size: Size
    people: int
    results: list[PreviewSample]
    warnings: list[str]
    seconds: float


class ResyncOrder(msgspec.Struct):
    """Tell destinations of everybody again: one of them, or all."""

    destination: str | None = None
