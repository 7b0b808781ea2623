"""Generates typed calls from the JSON of a tracking plan, as Segment's Typewriter does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from punchcard.cli.generated_python import to_python
from punchcard.cli.generated_typescript import to_typescript
from punchcard.cli.plan_types import EventCall, read_type, words_of
from punchcard.errors import ConfigurationError
from punchcard.tracking_plans.model import TrackingPlanRule
from punchcard.tracking_plans.plan_documents import PlanFormatError, read_file, read_plan_name

_CALLS: Final = {"TRACK": "track", "IDENTIFY": "identify", "GROUP": "group", "PAGE": "page", "SCREEN": "screen"}
_GENERATORS: Final = {"python": to_python, "typescript": to_typescript}


def generate_file(file: Path, language: str, output: Path | None) -> None:
    """Write the typed calls of a tracking plan to a file, or print them.

    Raises:
        ConfigurationError: File or language is not valid, or the output cannot be written.
    """
    if language not in _GENERATORS:
        raise ConfigurationError(f'"{language}" is not supported. Use python or typescript.')
    try:
        content = file.read_bytes()
    except OSError as error:
        remedy = (
            "" if file.suffix else f" If it is a plan, write its file first: punchcard plan export {file} > {file}.json"
        )
        raise ConfigurationError(f"{file}: The file cannot be read: {error.strerror or error}.{remedy}") from error
    try:
        rules = read_file(content, file_name=file.name)
    except PlanFormatError as error:
        raise ConfigurationError(f"{file}: {error.message}") from error
    code = _GENERATORS[language](read_plan_name(content), event_calls(rules))
    if output is None:
        print(code, end="")
        return
    try:
        output.write_text(code)
    except OSError as error:
        raise ConfigurationError(f"{output}: The file cannot be written: {error.strerror or error}.") from error


def event_calls(rules: Sequence[TrackingPlanRule]) -> list[EventCall]:
    """Return the calls of a plan, sorted by type and name.

    Raises:
        ConfigurationError: A rule cannot be used; the message names it.
    """
    calls: list[EventCall] = []
    for number, rule in enumerate(rules, start=1):
        kind, key, schema = rule.type, rule.key, rule.json_schema
        if kind == "COMMON":
            continue  # it describes what all events share, and no call of its own
        if kind not in _CALLS or (kind == "TRACK" and not key):
            raise ConfigurationError(f"Rule {number}: needs a type such as TRACK, a key and a jsonSchema.")
        call = _CALLS[kind]
        member = "traits" if kind in ("IDENTIFY", "GROUP") else "properties"
        members = schema.get("properties")
        of_member = members.get(member) if isinstance(members, dict) else None
        calls.append(
            EventCall(
                call=call,
                name=key,
                words=_function_words(key, call),
                member=member,
                description=str(schema.get("description") or ""),
                properties=read_type(of_member if isinstance(of_member, dict) else {"type": "object"}),
            )
        )
    return sorted(calls, key=lambda call: (call.call, call.words, call.name))


def _function_words(name: str, call: str) -> tuple[str, ...]:
    words = words_of(name) or (call,)
    return ("event", *words) if words[0][0].isdecimal() else words
