"""The reference lists every command, setting, config key, metric, call and response, and nothing else."""

import ast
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec
import prometheus_client
import pytest
import typer
from prometheus_client.metrics import MetricWrapperBase

import punchcard.delivery.telemetry
import punchcard.engage.telemetry
import punchcard.ingest.telemetry
import punchcard.operations.telemetry
import punchcard.routing.telemetry
import punchcard.runtime.telemetry  # noqa: F401  # imported for the metrics that they register
from punchcard.api import bodies
from punchcard.api.audit import AuditEventView
from punchcard.api.destination_views import DestinationView
from punchcard.api.destinations import NewDestination
from punchcard.api.filters import FilterView, NewFilter, PreviewRequest, PreviewResult, SavedFilter
from punchcard.api.regulations import (
    DestinationStatus,
    NewRegulationBody,
    RegulateId,
    RegulationEntry,
    RegulationPage,
    RegulationView,
    StoreStatus,
    StreamStatus,
    Suppressed,
    SuppressionPage,
)
from punchcard.api.sources import NewSource, SourceView
from punchcard.api.tokens import CreatedToken, TokenView
from punchcard.api.transactions import Retried, RetryRequest
from punchcard.cli.app import app
from punchcard.destinations.catalog import CATALOG
from punchcard.events.model import WireEvent
from punchcard.operations.definitions import resolve_definition
from punchcard.runtime.settings import setting_entries

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "punchcard"
REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def marked(text: str) -> set[str]:
    """All text in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def rows(text: str) -> dict[str, list[str]]:
    """The rows of all tables with code in their first cell, by that code."""
    matches = re.findall(r"^\| `([^`]+)` \|(.*)\|$", text, re.MULTILINE)
    return {first: [cell.strip() for cell in rest.split("|")] for first, rest in matches}


def commands(group: typer.core.TyperGroup, *path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if not command.hidden:
            yield " ".join([*path, name])
            if isinstance(command, typer.core.TyperGroup):
                yield from commands(command, *path, name)


def calls(place: str) -> Iterator[ast.Call]:
    for path in sorted(SOURCE.glob(place)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield node


def name_of(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def literals(nodes: list[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_every_command_has_its_heading() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    headings = re.findall(r"^##+ punchcard (.+)$", page("commands.md"), re.MULTILINE)
    assert sorted(headings) == sorted(commands(group))


def test_every_setting_has_its_row() -> None:
    assert set(rows(page("settings.md"))) == {entry.name for entry in setting_entries()}


def test_every_key_of_the_config_file_has_its_row() -> None:
    read_by_the_parser = {
        key
        for place in ("workspace/file.py", "workspace/plan_files.py")
        for call in calls(place)
        if name_of(call) == "only"
        for key in literals(call.args)
    }
    of_partners = {
        field.key
        for partner in CATALOG.values()
        for field in (*partner.definition.settings, *partner.definition.options)
    }
    tables = {"workspace", "identity", "sources", "audiences", "computed_traits", "alert_channels", "alert_rules"}
    tables |= {"transformations", "tracking_plans"}
    text = page("config-file.md")
    assert set(rows(text.partition("## `[workspace]`")[2])) == (read_by_the_parser - tables | of_partners | {"sources"})
    assert all(re.search(rf"\[\[?{table}[.\]]", text) for table in (*tables, "destinations"))


def test_every_route_of_the_profile_api_has_its_row() -> None:
    matches = set(re.findall(r'_BASE \+ "(/\w+)"', (SOURCE / "api/profile_routes.py").read_text()))
    assert {row for row in rows(page("profile-api.md")) if row.startswith("/")} == matches


def gauges() -> dict[str, list[str]]:
    return {
        literals(call.args)[0]: literals(next(arg.elts for arg in call.args if isinstance(arg, ast.List)))
        for call in calls("runtime/gauges.py")
        if name_of(call) == "Gauge"
    }


def registered_metrics() -> dict[str, tuple[str, list[str]]]:
    """Type and labels by the name that Prometheus sees."""
    metrics = {name: ("gauge", labels) for name, labels in gauges().items()}
    for metric in set(prometheus_client.REGISTRY._collector_to_names):
        if isinstance(metric, MetricWrapperBase) and metric._name.startswith("punchcard_"):
            ending = "_total" if metric._type == "counter" else ""
            metrics[metric._name + ending] = (metric._type, list(metric._labelnames))
    return metrics


def test_every_metric_has_its_row_with_type_and_labels() -> None:
    documented = {
        name: (cells[0], list(re.findall(r"`(\w+)`", cells[1]))) for name, cells in rows(page("metrics.md")).items()
    }
    assert documented == registered_metrics()


@pytest.mark.parametrize(
    "path", sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]), ids=lambda path: path.name
)
def test_no_page_names_a_metric_that_is_not(path: Path) -> None:
    named = set(re.findall(r"`(punchcard_[a-z_]+)(?:\{[^`]*\})?`", path.read_text()))
    assert named - set(registered_metrics()) == set()


def test_every_call_of_the_tracking_api_is_documented() -> None:
    from punchcard.ingest.app import _CALLS, _CLIENT_CALLS, _METRICS

    documented = set(re.findall(r"`POST (/v1/\w+)`", page("tracking-api.md")))
    assert documented == {*_CALLS, *_CLIENT_CALLS, _METRICS}


def test_every_member_of_an_event_is_documented() -> None:
    assert {field.encode_name for field in msgspec.structs.fields(WireEvent)} - marked(page("tracking-api.md")) == set()


def test_every_answer_code_of_the_tracking_api_is_documented() -> None:
    codes = {
        literal
        for place in ("ingest/*.py", "log/group_commit.py", "runtime/http_protocol.py")
        for call in calls(place)
        for keyword in call.keywords
        if keyword.arg == "code"
        for literal in literals([keyword.value])
    }
    assert len(codes) > 5
    documented = re.findall(r"^\| \d+ \| `(\w+)` \|", page("tracking-api.md"), re.MULTILINE)
    assert set(documented) == codes | {"storage_unavailable"}


def public_calls() -> dict[str, list[str]]:
    """The query parameters of every call, by method and path."""
    parameters = {}
    files = sorted((SOURCE / "api").glob("*.py"))
    for node in chain.from_iterable(ast.walk(ast.parse(file.read_text())) for file in files):
        for route in getattr(node, "decorator_list", []):
            if not isinstance(route, ast.Call) or name_of(route) not in ("get", "post", "put", "patch", "delete"):
                continue
            if not (paths := literals(route.args)):
                continue  # the Profile API, which has a page of its own
            path = paths[0]
            arguments = [*node.args.args, *node.args.kwonlyargs]
            renamed = {arg.arg: re.search(r"name='([\w\[\]]+)'", ast.unparse(arg.annotation)) for arg in arguments}
            names = [match[1] if (match := renamed[arg.arg]) else arg.arg for arg in arguments]
            inside = {*re.findall(r"{(\w+)", path), "request", "dependencies", "data"}
            parameters[f"{name_of(route).upper()} /api{path}"] = [name for name in names if name not in inside]
    return parameters


def test_every_call_of_the_public_api_is_documented() -> None:
    named = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /api/[^`?]*)`", page("public-api.md"))
    without_names = {re.sub(r"{.+?}", "{}", call) for call in named}
    assert without_names == {re.sub(r"{.+?}", "{}", call) for call in [*public_calls(), "GET /api/openapi.json"]}


def test_every_parameter_of_the_public_api_has_its_row() -> None:
    parameters = [name for names in public_calls().values() for name in names]
    assert parameters
    assert set(parameters) - set(rows(page("public-api.md"))) == set()


@pytest.mark.parametrize(
    "body",
    [
        bodies.EventTraceBody,
        bodies.EventCopy,
        bodies.ResultBody,
        bodies.AttemptBody,
        bodies.Conflict,
        bodies.LedgerRow,
        bodies.LedgerPage,
        bodies.Pagination,
        bodies.TestedEvent,
        bodies.TestedDestination,
        bodies.FilterSeen,
        PreviewRequest,
        NewRegulationBody,
        RegulateId,
        RegulationEntry,
        RegulationView,
        StreamStatus,
        DestinationStatus,
        StoreStatus,
        Suppressed,
        SuppressionPage,
        SourceView,
        TokenView,
        RetryRequest,
        Retried,
        CreatedToken,
        AuditEventView,
        NewSource,
        DestinationView,
        NewDestination,
        FilterView,
        SavedFilter,
        NewFilter,
        RegulationPage,
        PreviewResult,
    ],
    ids=lambda body: body.__name__,
)
def test_every_member_of_an_answer_is_documented(body: type[msgspec.Struct]) -> None:
    words = {word for code in marked(page("public-api.md")) for word in re.findall(r"\w+", code)}
    assert {field.encode_name for field in msgspec.structs.fields(body)} - words == set()


def test_every_member_of_a_transaction_is_documented() -> None:
    definitions = [partner.definition for partner in CATALOG.loaded()]
    members = {shown.member for definition in definitions for shown in definition.summary_columns}
    words = {word for code in marked(page("public-api.md")) for word in re.findall(r"\w+", code)}
    assert members
    assert {*members, *bodies.TRANSACTION_MEMBERS} - words == set()


def test_the_example_of_a_definition_as_json_equals_its_text() -> None:
    text = page("query-language.md")
    (second,) = re.findall(r"```text\n[^\n]+\n([^\n]+)\n", text)
    (example,) = re.findall(r"```json\n(.+?)```", text, re.DOTALL)
    assert resolve_definition("audience", query=None, model=json.loads(example)) == second
