"""Generates typed calls from the JSON of a tracking plan, as Segment's Typewriter does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from punchcard.cli.generated_python import to_python
from punchcard.cli.generated_typescript import to_typescript
from punchcard.cli.plan_types import EventCall, read_type, words_of
from punchcard.errors import ConfigurationError
from punchcard.events.faults import UNREADABLE
from punchcard.events.json_problems import describe_json_problem

_CALLS: Final = {"TRACK": "track", "IDENTIFY": "identify", "GROUP": "group", "PAGE": "page", "SCREEN": "screen"}
_GENERATORS: Final = {"python": to_python, "typescript": to_typescript}


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """What is read of a tracking plan.

    Attributes:
        name: Its name, "" if the file does not say so.
        rules: Its rules, each with `type`, `key` and `jsonSchema`.
    """

    name: str
    rules: Sequence[Mapping[str, Any]]


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
        raise ConfigurationError(f"{file}: The file cannot be read: {error.strerror or error}.") from error
    plan = read_plan(content, str(file))
    code = _GENERATORS[language](plan.name, event_calls(plan))
    if output is None:
        print(code, end="")
        return
    try:
        output.write_text(code)
    except OSError as error:
        raise ConfigurationError(f"{output}: The file cannot be written: {error.strerror or error}.") from error


def read_plan(content: bytes, name: str) -> PlanFile:
    """Read a tracking plan: the object with its `rules`, a response of the Public API, or the list of rules.

    Raises:
        ConfigurationError: It is none of these; the message begins with `name`.
    """
    try:
        document = msgspec.json.decode(content)
    except UNREADABLE as error:
        raise ConfigurationError(f"{name}: This is not JSON: {describe_json_problem(content, error)}.") from error
    document = document.get("data", document) if isinstance(document, dict) else {"rules": document}
    inner = document.get("trackingPlan", document) if isinstance(document, dict) else {}
    plan = inner if isinstance(inner, dict) else {}
    rules = plan.get("rules", document.get("rules") if isinstance(document, dict) else None)
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ConfigurationError(f'{name}: A tracking plan has a list "rules" with type, key and jsonSchema each.')
    return PlanFile(name=str(plan.get("name") or ""), rules=rules)


def event_calls(plan: PlanFile) -> list[EventCall]:
    """Return the calls of a plan, sorted by type and name.

    Raises:
        ConfigurationError: A rule cannot be used; the message names it.
    """
    calls: list[EventCall] = []
    for number, rule in enumerate(plan.rules, start=1):
        kind = str(rule.get("type", "TRACK")).upper()
        if kind == "COMMON":
            continue  # it describes what all events share, and no call of its own
        key = str(rule.get("key") or "")
        schema = rule.get("jsonSchema")
        if kind not in _CALLS or not isinstance(schema, dict) or (kind == "TRACK" and not key):
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
