"""The reference lists every status and reason code that the code can return, and nothing else."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from punchcard.store.routing.event_results import EventStatus

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "punchcard"
PAGE = ROOT / "docs" / "reference" / "reasons.md"

# Where reasons of results come from. What the Tracking API and the Public API answer is on their own pages.
MODULES = (
    "destinations/port.py",
    "destinations/perkville/*.py",
    "destinations/webhooks/*.py",
    "delivery/*.py",
    "operations/deletion_runner.py",
    "operations/reconciliation.py",
    "errors.py",
    "events/*.py",
    "filters/*.py",
    "routing/*.py",
    "store/delivery/corrections.py",
    "store/delivery/effects.py",
    "store/delivery/erasure.py",
    "store/delivery/operator_actions.py",
    "store/delivery/outbox.py",
    "store/delivery/pauses.py",
    "store/delivery/recoveries.py",
    "tracking_plans/enforcement.py",
    "traces/trace.py",
    "traces/tail.py",
)
# Errors that never become the reason of a result: the classes above the leaves, and what stops a process or a request.
NO_REASONS = {
    "punchcard_error",
    "refused",
    "account_unknown",
    "invalid_filter",
    "invalid_transformation",
    "invalid_request",
    "invalid_configuration",
    "delivery_failed",
    "storage_unavailable",
    "storage_settings_refused",
    "invariant",
    "position_moved",
    "lake_unavailable",
    "routing_halted",
    "another_log",
    "older_store",
    "keys_not_shown",
    "not_supported",
    "cannot_correct",
}
CODE = re.compile(r"[A-Za-z]+(_[A-Za-z]+)*")
NAMES = {"code", "reason", "repeat_reason", "note_code"}
# Where codes that several modules share stand as constants.
CONSTANTS_OF = (
    "delivery/outcomes.py",
    "destinations/perkville/reasons.py",
    "destinations/port.py",
    "destinations/preparation.py",
    "store/delivery/effects.py",
    "store/delivery/orders.py",
    "store/delivery/pauses.py",
    "filters/transformations.py",
    "workspace/controlled_properties.py",
    "tracking_plans/enforcement.py",
)
# Functions that take a reason by position.
TAKE_REASON = {"Fault": 0, "IngestFailure": 0, "EventResult": 2, "filtered": 0, "stopped": 0, "_repeat": 1}


@cache
def constants() -> dict[str, str]:
    """The texts of the modules' constants by name."""
    return {
        name: text
        for path in CONSTANTS_OF
        for node in ast.parse((SOURCE / path).read_text()).body
        for name, text in _constant_of(node)
    }


def _constant_of(node: ast.stmt) -> Iterator[tuple[str, str]]:
    match node:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
        ):
            yield name, text


def _texts(node: ast.AST | None) -> Iterator[str]:
    """The texts that an expression may become; an f-string as its constant beginning and a star."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) if name in constants():
            yield constants()[name]
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            yield f"{text}*"
        case ast.IfExp(body=body, orelse=other):
            yield from (*_texts(body), *_texts(other))
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts(value)
        case ast.Tuple(elts=[first, *_]):
            yield from _texts(first)
        case ast.Call(func=ast.Name(id="case"), args=whens, keywords=keywords):
            for when in whens:
                if isinstance(when, ast.Tuple):
                    yield from _texts(when.elts[-1])
            for keyword in keywords:
                yield from _texts(keyword.value)


def _codes_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args, keywords=keywords):
                if name in TAKE_REASON and len(args) > TAKE_REASON[name]:
                    yield from _texts(args[TAKE_REASON[name]])
                for keyword in keywords:
                    if keyword.arg in NAMES:
                        yield from _texts(keyword.value)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(values=values)) if name == "_TEXTS":
                for value in values:
                    yield from _texts(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in NAMES | {"in_doubt", "STORE_RESTORED"}:
                yield from _texts(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if name in NAMES:
                yield from _texts(value)
            case ast.FunctionDef(name=name, body=body) if name.endswith("_code"):
                for inner in ast.walk(ast.Module(body, [])):
                    if isinstance(inner, ast.Return):
                        yield from _texts(inner.value)


@cache
def codes_in_the_code() -> dict[str, set[str]]:
    """Every reason code (or its beginning and a star) with the files that give it."""
    files_by_code: dict[str, set[str]] = {}
    for pattern in MODULES:
        for path in SOURCE.glob(pattern):
            for code in _codes_of(ast.parse(path.read_text())):
                if code not in NO_REASONS and CODE.fullmatch(code.removesuffix("*").rstrip("_")):
                    files_by_code.setdefault(code, set()).add(str(path.relative_to(SOURCE)))
    return files_by_code


def codes_on_the_page() -> set[str]:
    """The first cell of every row of the tables of reasons."""
    reasons = PAGE.read_text().partition("## Reasons")[2]
    return {code for row in re.findall(r"^\| (`.+?) \|", reasons, re.MULTILINE) for code in re.findall(r"`(.+?)`", row)}


def test_every_reason_of_the_code_is_documented() -> None:
    page = codes_on_the_page()
    missing = {
        code: sorted(files)
        for code, files in codes_in_the_code().items()
        if code not in page and not (code.endswith("*") and any(listed.startswith(code[:-1]) for listed in page))
    }
    assert missing == {}


def test_no_documented_reason_is_unknown_to_the_code() -> None:
    codes = codes_in_the_code()
    beginnings = tuple(code[:-1] for code in codes if code.endswith("*"))
    assert {code for code in codes_on_the_page() if code not in codes and not code.startswith(beginnings)} == set()


@pytest.mark.parametrize("place", ["faults.py", "parse.py", "fields.py", "responses.py", "outcomes.py", "conflicts.py"])
def test_reasons_are_found_where_they_are_known_to_be(place: str) -> None:
    """Guards the search itself: a module that writes reasons in a new way must not drop out unnoticed."""
    assert any(place in file for files in codes_in_the_code().values() for file in files)


def test_every_result_is_documented_and_no_other() -> None:
    results = PAGE.read_text().partition("## Statuses")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", results, re.MULTILINE)) == {result.value for result in EventStatus}
