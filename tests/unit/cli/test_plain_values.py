"""Values of options are read as Typer reads them, but plain ones without pydantic, which takes long to import."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer import BadParameter
from typer._click import Command, Context
from typer._coercion import build_runtime_param
from typer.core import TyperGroup, _TyperParameter

from punchcard.cli.app import app
from punchcard.cli.plain_values import read_plain_values

TEXTS = [
    "",
    "x",
    "0",
    "7",
    "-1",
    "007",
    "65535",
    "65536",
    "99999999999",
    " 5",
    "5 ",
    "1_0",
    "1.0",
    "٣",
    "true",
    "./a/../b",
]


def _leaves(command: Command) -> Iterator[Command]:
    yield command
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            yield from _leaves(below)


def _parameters() -> Iterator[tuple[Context, _TyperParameter]]:
    command = typer.main.get_command(app)
    read_plain_values(command)
    for leaf in _leaves(command):
        context = Context(leaf)
        for parameter in leaf.get_params(context):
            assert isinstance(parameter, _TyperParameter)
            yield context, parameter


def _outcome(runtime: Any, value: object, parameter: _TyperParameter, context: Context) -> object:
    try:
        read = runtime.coerce(value, param=parameter, ctx=context)
    except BadParameter as refused:
        return refused.format_message()
    return type(read), read


def test_every_parameter_reads_every_text_as_typer_does(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    texts = [*TEXTS, str(tmp_path), str(tmp_path / "file"), str(tmp_path / "none")]
    compared = 0
    for context, parameter in _parameters():
        several = parameter.multiple or parameter.nargs == -1
        for text in texts:
            value = (text, "x") if several else text
            expected = _outcome(build_runtime_param(parameter.type_descriptor), value, parameter, context)
            assert _outcome(parameter.get_runtime_param(), value, parameter, context) == expected, (parameter, text)
            compared += 1
    assert compared > 1_000


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--help"], id="help"),
        pytest.param(["up", "--help"], id="help of a command"),
        pytest.param(["export", "--data", "/nonexistent"], id="export"),
        pytest.param(["trace", "m-1", "--data", "/nonexistent"], id="trace"),
        pytest.param(["up", "--port", "8080", "--data", "/dev/null/none"], id="up"),
    ],
)
def test_a_command_does_not_import_pydantic(arguments: list[str]) -> None:
    code = (
        "import sys; from punchcard.cli.running import run; status = run(sys.argv[1:]); "
        "print('pydantic' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False", done.stderr
