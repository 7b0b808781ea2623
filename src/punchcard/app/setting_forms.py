"""Forms for a destination's settings, derived from its definition."""

from collections.abc import Mapping

from punchcard.app.request_context import RequestContext
from punchcard.destinations.definition import FieldType, SettingField


def read_setting(context: RequestContext, field: SettingField) -> object:
    """Return the posted value of a field, converted to its type if possible. Validation reports the rest."""
    text = context.field(field.key)
    match field.type:
        case FieldType.BOOLEAN:
            return text in ("on", "true")
        case FieldType.NUMBER:
            return _number(text)
        case FieldType.ARRAY:
            return [line.strip() for line in text.splitlines() if line.strip()]
        case FieldType.TEXT_MAP:
            return _text_map(text)
        case _:
            return text


def read_map_rows(context: RequestContext, key: str) -> list[tuple[str, str]]:
    """Return the rows of a map, names with values, without empty ones."""
    names, values = context.fields(f"{key}.name"), context.fields(f"{key}.value")
    return [(name, value) for name, value in zip(names, values, strict=False) if name or value]


def read_map(context: RequestContext, key: str) -> dict[str, str]:
    """Return the rows of a map without empty ones. If a name occurs twice, the last row counts."""
    return dict(read_map_rows(context, key))


def format_values(values: Mapping[str, object]) -> dict[str, object]:
    """Format values for a form: lists as lines, whole numbers without decimals."""
    return {key: _format_value(value) for key, value in values.items()}


def _format_value(value: object) -> object:
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return "" if value is None else value


def _text_map(text: str) -> dict[str, str]:
    """Return the pairs of lines such as `Authorization: Bearer …`; a line without a colon is a name without a value."""
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _number(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text  # validation reports it
