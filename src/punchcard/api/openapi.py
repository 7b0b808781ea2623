"""The API's OpenAPI document: derived from the handlers by the framework, plus the errors that any call may return."""

from typing import Any, Final

from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

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
                        "description": "`position` of the error in a text, counted from 0",
                        "properties": {"position": {"type": "integer"}},
                    },
                },
            },
        }
    },
}
_CLOSED: Final = ("Options", "OptionsUpdate")
"""Bodies that forbid unknown members, which the framework does not document."""

_MEANINGS: Final = {
    "400": "A parameter or the body is invalid",
    "401": "The token is missing or invalid",
    "403": "The token's role does not allow this call",
    "404": "The resource does not exist",
    "422": "The request is valid but cannot be executed",
    "503": "Storage is unavailable; try again",
}


class DocumentedErrors(JsonRenderPlugin):
    """Renders the document as JSON and adds the errors."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as JSON."""
        schemas = openapi_schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Errors"] = _ERROR
        for name in _CLOSED:
            schemas[name]["additionalProperties"] = False
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Errors"}}}
        errors = {status: {"description": meaning, "content": content} for status, meaning in _MEANINGS.items()}
        for methods in openapi_schema["paths"].values():
            for operation in methods.values():
                operation["responses"] = {**operation["responses"], **errors}
        return super().render(request, openapi_schema)
