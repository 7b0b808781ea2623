"""Values of options and arguments, read without pydantic.

Typer reads every value with pydantic, which takes longer to import than most commands take to run. Here plain values
are read directly; for all others, and for every message about an invalid value, Typer is asked as usual.
"""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from typer import BadParameter
from typer._click import Command, Context
from typer._coercion import RuntimeParam, build_runtime_param
from typer._param_types import coerce_cli_path
from typer.core import TyperGroup, _TyperParameter

_INTEGER: Final = re.compile(r"[0-9]{1,9}")


def read_plain_values(command: Command) -> None:
    """Make a command and its subcommands read plain values without pydantic."""
    for parameter in command.get_params(Context(command)):
        if isinstance(parameter, _TyperParameter):
            descriptor = parameter.type_descriptor
            parameter._runtime_param = _PlainValues(descriptor.parameter_info, descriptor.annotation)
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            read_plain_values(below)


@dataclass(frozen=True)
class _PlainValues(RuntimeParam):
    """Reads the values of one parameter."""

    def _coerce_value(self, value: Any, param: _TyperParameter, ctx: Context) -> Any:
        try:
            return self._read(value, param, ctx)
        except (BadParameter, _NotPlainError):
            return build_runtime_param(param.type_descriptor)._coerce_value(value, param=param, ctx=ctx)

    def _read(self, value: Any, param: _TyperParameter, ctx: Context) -> Any:
        """Return the value of the parameter's type.

        Raises:
            _NotPlainError: It is of another type, or its text is not certainly valid.
        """
        info = self.parameter_info
        match self.annotation, value:
            case _ if info.parser is not None:
                raise _NotPlainError
            case (type() as kind, Enum()) if kind is type(value):
                return value
            case (type() as kind, str()) if kind is str:
                return value
            case (type() as kind, str() | Path()) if kind is Path:
                return coerce_cli_path(Path(value), info, path_type=Path, param=param, ctx=ctx)
            case (type() as kind, int() | str()) if kind is int and _INTEGER.fullmatch(str(value)):
                number = int(value)
                if (info.min is None or number >= info.min) and (info.max is None or number <= info.max):
                    return number
            case (kind, list() | tuple()) if kind == list[str] and all(isinstance(item, str) for item in value):
                return list(value)
        raise _NotPlainError


class _NotPlainError(Exception):  # control flow: pydantic reads the value
    """The value is left to pydantic."""
