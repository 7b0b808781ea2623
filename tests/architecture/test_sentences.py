"""Messages that commands and routes give to people begin with a capital.

Errors of all packages are capitalized where the command line and the API show them. What commands print themselves is
read here from the source.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.api.errors import punchcard_error
from punchcard.cli.running import run
from punchcard.errors import ConfigurationError
from punchcard.operations.sentences import as_sentence, capitalize

CLI = Path(__file__).parents[2] / "src/punchcard/cli"
PRINTING = {"print", "echo", "secho", "_print_error"}
ALLOWED = {
    "app.py": {"punchcard "},  # name and version
    "running.py": {"punchcard: "},
}


def printed_texts(path: Path) -> Iterator[str]:
    """Yield how the literal texts begin that a module prints or raises."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name not in PRINTING and (not name.endswith("Error") or name == "AssertionError"):
            continue
        text = node.args[0]
        if isinstance(text, ast.JoinedStr) and text.values:
            text = text.values[0]
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield text.value


@pytest.mark.parametrize("path", sorted(CLI.rglob("*.py")), ids=lambda path: str(path.relative_to(CLI)))
def test_what_a_command_prints_begins_with_a_capital(path: Path) -> None:
    texts = set(printed_texts(path)) - ALLOWED.get(path.name, set())
    assert [text for text in texts if capitalize(text) != text] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("there is no reconciliation 7 of perkville", "There is no reconciliation 7 of perkville."),
        ("nobody is there!", "Nobody is there!"),
        ("settings.apiKey is missing", "settings.apiKey is missing."),
        ("endTime must be later than startTime.", "endTime must be later than startTime."),
        ("log_url: The URL is not valid.", "log_url: The URL is not valid."),
        ("--since foo: Write a date.", "--since foo: Write a date."),
        ("tls: self-signed", "tls: self-signed."),
        ("123", "123."),
        ("", ""),
    ],
)
def test_a_sentence_begins_with_a_capital_unless_an_identifier_does(text: str, sentence: str) -> None:
    assert as_sentence(text) == sentence


def test_errors_of_any_package_are_shown_with_a_capital(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ConfigurationError("the store speaks sqlite:// and postgresql://", code="invalid_request")
    response = punchcard_error(None, error)  # type: ignore[arg-type]  # the request is not looked at
    assert response.content["errors"][0]["message"].startswith("The store speaks")
    monkeypatch.setenv("PUNCHCARD_DATABASE_URL", "mysql://nowhere")
    assert run(["conflicts"]) == 2
    assert capsys.readouterr().err.startswith("punchcard: The store speaks")
