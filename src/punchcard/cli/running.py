"""Runs a command, and turns errors into one line on standard error and an exit status."""

import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from punchcard.cli.app import app
from punchcard.cli.interruption import INTERRUPTED, expect_interruption, explain_interruption, is_interruption
from punchcard.cli.output import FAILED, end_output, printable
from punchcard.cli.plain_values import read_plain_values
from punchcard.errors import ConfigurationError, PunchcardError
from punchcard.operations.sentences import capitalize, shorten

DONE = 0
# Of any command that has no better words: each writes in units of work.
_NOTHING_HALF_DONE = "Nothing is half done. Run the same command again."
CALLED_WRONGLY = 2


def run(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` name.

    Returns:
        0 for success, 1 for a failure, 2 for a wrong call or configuration, 130 if interrupted by Ctrl-C.
    """
    return end_output(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    try:
        command = typer.main.get_command(app)
        read_plain_values(command)
        expect_interruption()
        status = command.main(list(arguments) or ["--help"], prog_name="punchcard", standalone_mode=False)
        if status == INTERRUPTED:
            explain_interruption(_NOTHING_HALF_DONE)
    except ConfigurationError as error:
        _print_error(error.message)
        return CALLED_WRONGLY
    except PunchcardError as error:
        _print_error(error.message)
        return FAILED
    except TyperException as error:
        _print_usage_error(error)
        return CALLED_WRONGLY
    except OSError as error:
        text = error.strerror or str(error)
        _print_error(f"{error.filename}: {text}" if error.filename and error.strerror else text)
        return FAILED
    except UnicodeEncodeError as error:
        numbers = [number for number, text in enumerate(arguments, start=1) if not _is_unicode(text)]
        if not numbers:
            return _report_defect(error)
        _print_error(f"Argument {numbers[0]} is not UTF-8 text. Check the encoding of your terminal or script.")
        return CALLED_WRONGLY
    except Exception as error:  # noqa: BLE001  # the process's outer loop: people get no stack trace
        if is_interruption(error):
            explain_interruption(_NOTHING_HALF_DONE)
            return INTERRUPTED
        return _report_defect(error)
    return status if isinstance(status, int) else DONE


def _report_defect(error: Exception) -> int:
    if os.environ.get("PUNCHCARD_LOG_LEVEL", "").lower() == "debug":
        traceback.print_exc()
    _print_error(
        f"This is a defect of Punchcard: {type(error).__name__}: {' '.join(str(error).split())}. "
        "Please report it. Set PUNCHCARD_LOG_LEVEL=debug for the stack trace."
    )
    return FAILED


def _is_unicode(argument: str) -> bool:
    """Return whether an argument was decoded: a byte that is not UTF-8 becomes half of a surrogate pair."""
    return argument.isascii() or not any("\ud800" <= character <= "\udfff" for character in argument)


def _print_error(message: str) -> None:
    for line in message.splitlines():
        print(f"punchcard: {capitalize(shorten(printable(line)))}", file=sys.stderr)


def _print_usage_error(error: TyperException) -> None:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "punchcard"
    message = " ".join(error.format_message().split()).rstrip(".")
    print(f"{path}: {printable(shorten(message))}; see `{path} --help`", file=sys.stderr)
