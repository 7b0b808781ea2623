"""The API's OpenAPI document: derived from the handlers by the framework, plus the errors that any call may return."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

from punchcard.api.bodies import TRANSACTION_MEMBERS
from punchcard.api.list_files import list_paths
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition, LedgerColumn
from punchcard.operations.export_files import ExportFormat
from punchcard.operations.simulation_outcome import SimulatedEvent

_ERROR: Final = {
    "type": "object",
    "required": ["errors"],
    "properties": {
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "message", "field", "status"],
                "properties": {
                    "type": {"type": "string", "description": "Stable code"},
                    "message": {"type": "string", "description": "Sentence for people"},
                    "field": {"type": ["string", "null"], "description": "The invalid parameter or member"},
                    "status": {"type": "integer"},
                    "data": {
                        "type": "object",
                        "description": "`position` of the error in a text, from 0; `toml` to write into the file",
                        "properties": {"position": {"type": "integer"}, "toml": {"type": "string"}},
                    },
                },
            },
        }
    },
}
_TRANSACTION_OR_NULL: Final = {"oneOf": [{"$ref": "#/components/schemas/Transaction"}, {"type": "null"}]}
_WITH_TRANSACTION: Final = ("ResultBody", "LedgerRow", "TestedDestination")
"""Bodies with a member `transaction`: the framework does not know its members."""

_CLOSED: Final = ("Options", "OptionsUpdate")
"""Bodies that forbid unknown members, which the framework does not document."""

_FORMAT_PARAMETER: Final = {
    "name": "format",
    "in": "query",
    "description": "`csv` or `parquet`: return the whole list as a file, as with a header `Accept`",
    "required": False,
    "schema": {"type": "string", "enum": ["json", *ExportFormat]},
}
_FILES: Final = {format.media_type: {"schema": {"type": "string", "format": "binary"}} for format in ExportFormat}
_ALWAYS_TEXT: Final = ("effectKey", "email")
_MEANINGS: Final = {
    "400": "A parameter or the body is invalid",
    "401": "The token is missing or invalid",
    "403": "The token's role does not allow this call",
    "404": "The resource does not exist",
    "409": "`managed_by_file`: the config file manages this part. Or somebody has decided before: `already_resolved`",
    "422": "The request is valid but cannot be executed",
    "503": "Storage is unavailable; try again",
}


def _transaction_schema(definitions: Iterable[Definition]) -> dict[str, Any]:
    """Return the schema of a transaction: what all have, and what each destination shows of its own."""
    properties: dict[str, Any] = {
        name: {"type": "string" if name in _ALWAYS_TEXT else ["string", "null"], "description": meaning}
        for name, meaning in TRANSACTION_MEMBERS.items()
    }
    properties["attributes"]["type"] = ["object", "null"]
    for definition in definitions:
        for shown in definition.summary_columns:
            description = f"{shown.label}, of a destination of type {definition.slug}"
            properties.setdefault(shown.member, {"type": ["string", "null"], "description": description})
    return {"type": "object", "required": list(TRANSACTION_MEMBERS), "properties": properties}


def _simulated_event_schema(definitions: Iterable[Definition]) -> dict[str, Any]:
    """Return the schema of a row of a simulation, with its item as each destination calls it."""
    schema: dict[str, Any] = msgspec.json.schema_components([SimulatedEvent], ref_template="{name}")[1][
        "SimulatedEvent"
    ]
    item = schema["properties"].pop("item")
    schema["required"].remove("item")
    for definition in definitions:
        if definition.item_kind is not None:
            shown = definition.summary_column(LedgerColumn.ITEM)
            description = f"{shown.label}, of a destination of type {definition.slug}"
            schema["properties"].setdefault(shown.member, {**item, "description": description})
    return schema


class DocumentedErrors(JsonRenderPlugin):
    """Renders the document as JSON and adds the errors."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as JSON."""
        schemas = openapi_schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Errors"] = _ERROR
        schemas["Transaction"] = _transaction_schema(loaded.definition for loaded in CATALOG.loaded())
        schemas["SimulatedEvent"] = _simulated_event_schema(loaded.definition for loaded in CATALOG.loaded())
        schemas["SimulationBody"]["properties"]["byEvent"]["items"] = {"$ref": "#/components/schemas/SimulatedEvent"}
        for name in _WITH_TRANSACTION:
            schemas[name]["properties"]["transaction"] = _TRANSACTION_OR_NULL
        for name in _CLOSED:
            schemas[name]["additionalProperties"] = False
        lists = {path for path, _ in list_paths(request.app)}
        for path, methods in openapi_schema["paths"].items():
            parameters = {each["name"]: each for each in methods.get("get", {}).get("parameters", ())}
            if path in lists or "format" in parameters:
                methods["get"]["parameters"] = [*(parameters | {"format": _FORMAT_PARAMETER}).values()]
                methods["get"]["responses"]["200"]["content"].update(_FILES)
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Errors"}}}
        errors = {status: {"description": meaning, "content": content} for status, meaning in _MEANINGS.items()}
        for methods in openapi_schema["paths"].values():
            for method, operation in methods.items():
                # What changes nothing conflicts with nothing.
                possible = {status: error for status, error in errors.items() if (method, status) != ("get", "409")}
                operation["responses"] = {**operation["responses"], **possible}
        return super().render(request, openapi_schema)
