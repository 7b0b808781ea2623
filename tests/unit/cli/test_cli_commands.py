"""Help, exit statuses and errors: one clear line, never a stack trace."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from punchcard.cli.app import app
from punchcard.cli.running import run
from punchcard.errors import ConfigurationError, PunchcardError

CONTRACT = ["demo", "up", "serve", "worker", "sandbox", "apply", "export", "send", "import", "trace", "check"]
CONTRACT += ["retry", "replay", "reconcile", "simulate"]
SENDING = ["track", "identify", "page", "screen", "group", "alias", "batch"]


def help_of(*path: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*path, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", CONTRACT)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(name, capsys=capsys)
    assert "Example" in text
    assert f"punchcard {name}" in text.partition("Example")[2]


@pytest.mark.parametrize("name", SENDING)
def test_every_call_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"punchcard send --write-key wk_website {name}" in help_of("send", name, capsys=capsys)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {line.split()[0] for line in help_of(capsys=capsys).partition("Commands:")[2].splitlines() if line.split()}
    assert listed >= set(CONTRACT)


def test_every_option_is_explained() -> None:
    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    commands |= {f"send {name}": command for name, command in commands["send"].commands.items()}
    silent = [
        f"{name} {parameter.name}"
        for name, command in commands.items()
        for parameter in command.params
        if not parameter.help
    ]
    assert silent == []


def test_no_command_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: punchcard" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'rich', 'msgspec', 'sqlalchemy', 'aiohttp', 'litestar', 'duckdb', 'pyarrow', 'uvicorn', 'structlog'}"
    code = (
        "import sys; from punchcard.cli.running import run; run(['--help']); run(['import', '--help'])\n"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "punchcard", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("punchcard ")


@pytest.mark.parametrize(
    ("call", "status", "output", "errors"),
    [
        pytest.param("--help >&-", 0, "", "", id="help, output closed"),
        pytest.param("--version >&-", 0, "", "", id="command, output closed"),
        pytest.param("tracee 2>&-", 2, "", "", id="errors closed"),
        pytest.param("--version <&- >&- 2>&-", 0, "", "", id="all closed"),
        pytest.param(
            "--help >/dev/full", 1, "", "punchcard: Standard output: No space left on device\n", id="help, disk full"
        ),
        pytest.param("--version >/dev/full", 1, "", "No space left on device\n", id="command, disk full"),
    ],
)
def test_output_that_cannot_be_written_is_no_defect(call: str, status: int, output: str, errors: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m punchcard {call}', sys.executable], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, output)
    assert done.stderr.endswith(errors)
    assert done.stderr.count("\n") == bool(errors)


def test_a_closed_input_is_no_terminal() -> None:
    code = "from punchcard.cli.output import *; import sys; open_closed_streams(); print(sys.stdin.isatty())"
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "False\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["tracee"], "Did you mean 'trace'", id="unknown command"),
        pytest.param(["import"], "Missing argument 'FILE'", id="missing argument"),
        pytest.param(["import", __file__], "--write-key", id="missing option"),
        pytest.param(["import", "nowhere.csv", "--write-key", "k"], "nowhere.csv", id="no such file"),
        pytest.param(["import", __file__, "--write-key", "k"], ".jsonl", id="unknown format"),
        pytest.param(["up", "--port", "many"], "--port", id="not a number"),
        pytest.param(["up", "--port", "65536"], "--port", id="no such port"),
        pytest.param(["send", "track", "X"], "--write-key", id="no write key"),
        pytest.param(["send", "--write-key", "k", "--url", "ftp://x", "track", "X"], "http://", id="not a web address"),
        pytest.param(["send", "--write-key", "k", "--url", "http://x:99999", "track", "X"], "--url", id="bad port"),
        pytest.param(["send", "--write-key", "a:b", "track", "X"], "--write-key", id="impossible write key"),
        pytest.param(["send", "--write-key", "k"], "Missing command", id="no call"),
        pytest.param(["trace", "m", "--data", "nowhere"], "nowhere", id="no data there"),
        pytest.param(["export", "--data", "nowhere"], "--data", id="nothing to export"),
        pytest.param(["retry", "--data", "nowhere"], "--data", id="nothing to retry"),
        pytest.param(["check", "--data", "nowhere"], "--data", id="nothing to check"),
        pytest.param(["apply", "nowhere.toml"], "nowhere.toml", id="no config file"),
        pytest.param(
            ["retention", "set", "lake", "-5", "--data", "nowhere"], "nowhere", id="negative number, no option"
        ),
    ],
)
def test_a_wrong_call_is_reported_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert says in output.err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_without_a_data_folder_creates_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, data = tmp_path / "punchcard.toml", tmp_path / "nowhere"
    file.write_text('[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n')
    assert run(["apply", str(file), "--dry-run", "--data", str(data)]) == 0
    output = capsys.readouterr()
    assert "website" in output.out
    assert output.err == f"{data}: This is not a data folder of Punchcard yet: everything is new.\n"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("connected", "is_warned"),
    [
        pytest.param("sources = []", True, id="to nothing"),
        pytest.param('source = "website"', False, id="to a source"),
        pytest.param(
            'sources = []\n[[audiences]]\nname = "All"\ndefinition = "event(\'A\').count() >= 1"\n'
            'destinations = ["hook"]',
            False,
            id="to an audience",
        ),
    ],
)
def test_a_destination_that_gets_nothing_is_warned_of(
    connected: str, is_warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "punchcard.toml"
    file.write_text(
        '[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n[[destinations]]\nslug = "hook"\ntype = "webhooks"\n'
        f'settings = {{ url = "https://example.com/" }}\n{connected}\n'
    )
    assert run(["apply", str(file), "--dry-run", "--data", str(tmp_path / "nowhere")]) == 0
    assert ("Warning: Webhooks: It has no source" in capsys.readouterr().err) is is_warned


def test_an_unknown_setting_in_the_environment_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUNCHCARD_DATABSE_URL", "x")
    assert run(["export"]) == 2
    assert "PUNCHCARD_DATABASE_URL" in capsys.readouterr().err


@pytest.fixture
def some_data(tmp_path: Path) -> Path:
    (tmp_path / "punchcard.db").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("raised", "status", "output"),
    [
        pytest.param(ConfigurationError("a\nb"), 2, "punchcard: A\npunchcard: B\n", id="configuration"),
        pytest.param(PunchcardError("away"), 1, "punchcard: Away\n", id="failure"),
        pytest.param(
            PermissionError(13, "Permission denied", "x.csv"), 1, "punchcard: x.csv: Permission denied\n", id="file"
        ),
        pytest.param(OSError(5, "Input/output error"), 1, "punchcard: Input/output error\n", id="file-without-a-name"),
        pytest.param(PunchcardError("No \x1b[2J\x9b."), 1, "punchcard: No �[2J�.\n", id="control-characters"),
        pytest.param(
            KeyboardInterrupt(),
            130,
            "punchcard: Interrupted. Nothing is half done. Run the same command again.\n",
            id="interrupted",
        ),
    ],
)
def test_what_goes_wrong_in_a_command_becomes_its_exit_status(
    raised: BaseException,
    status: int,
    output: str,
    some_data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import punchcard.cli.tracing

    def fail(*_: object, **__: object) -> int:
        raise raised

    monkeypatch.setattr(punchcard.cli.tracing, "print_trace", fail)
    assert run(["trace", "m", "--data", str(some_data)]) == status
    assert capsys.readouterr().err == output


def test_a_defect_shows_where_only_on_request(
    some_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import punchcard.cli.tracing

    monkeypatch.setattr(punchcard.cli.tracing, "print_trace", lambda *_, **__: 1 // 0)
    assert run(["trace", "m", "--data", str(some_data)]) == 1
    assert "Traceback" not in (output := capsys.readouterr().err)
    assert "ZeroDivisionError" in output
    monkeypatch.setenv("PUNCHCARD_LOG_LEVEL", "debug")
    assert run(["trace", "m", "--data", str(some_data)]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m punchcard import --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_an_argument_that_is_not_utf8_is_named(
    some_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import punchcard.cli.tracing

    monkeypatch.setattr(punchcard.cli.tracing, "print_trace", lambda *_, **__: "\udcff".encode())
    assert run(["trace", "m-\udcff", "--data", str(some_data)]) == 2
    assert "Argument 2 is not UTF-8 text." in capsys.readouterr().err
    assert run(["trace", "m-1", "--data", str(some_data)]) == 1
    assert "This is a defect of Punchcard: UnicodeEncodeError" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["doctor", "--json"], ["doctor"], ["check", "--json"], ["check"]], ids=" ".join)
def test_a_file_may_have_a_name_that_is_not_text(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c\udcff.toml"
    file.write_text('[workspace]\nname = "Acme"\n')
    assert run([*command, "--config", str(file)]) in (0, 1)  # a port may be in use
    captured = capsys.readouterr()
    assert "UTF-8" not in captured.err
    assert "c���.toml" in captured.out or "c�.toml" in captured.out or command == ["doctor"]
