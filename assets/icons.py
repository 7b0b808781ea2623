"""Finds the icons that the App's pages use, so that the sprite holds each of them.

A template names an icon in a call of `icon(…)`, or in a call of a macro that hands one of its parameters to `icon(…)`
or to another such macro. Each name must be a literal: a name that is computed cannot be checked and stops the build.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jinja2 import Environment, nodes

ICON = "icon"
# What templates may pass besides a literal: entries of the navigation bar; the build reads their icons from there.
NAVIGATION_ATTRIBUTE = "icon"


class IconError(Exception):
    """An icon's name cannot be read from a template."""


@dataclass(frozen=True)
class _Parameter:
    """The parameter of a callable that takes an icon's name: its place, its name and its default."""

    position: int
    name: str
    default: nodes.Expr | None = None


def find_icon_names(templates: Mapping[str, str]) -> set[str]:
    """Return the name of every icon that the templates use.

    Args:
        templates: Template texts by file name.

    Raises:
        IconError: a name is not a literal; the message gives file and line.
    """
    environment = Environment()
    trees = {file: environment.parse(text) for file, text in templates.items()}
    takers = {ICON: _Parameter(0, "name")} | _macros_that_take_icons(trees)
    names: set[str] = set()
    for file, tree in trees.items():
        for call, parameters in _calls(tree):
            taker = takers.get(_callee(call))
            if taker is None:
                continue
            argument = _argument(call, taker)
            if argument is None or (isinstance(argument, nodes.Name) and argument.name in parameters):
                continue  # The default was read with the macro; a parameter is read where the macro is called.
            names |= set(_literals(argument, f"{file}:{call.lineno}"))
    for name, taker in takers.items():
        if taker.default is not None:
            names |= set(_literals(taker.default, f"macro {name}"))
    return names


def _macros_that_take_icons(trees: Mapping[str, nodes.Template]) -> dict[str, _Parameter]:
    """Return the macros with a parameter that ends in `icon(…)`, directly or through another macro."""
    macros = [macro for tree in trees.values() for macro in tree.find_all(nodes.Macro)]
    takers: dict[str, _Parameter] = {}
    while True:
        known = {ICON: _Parameter(0, "name")} | takers
        before = len(takers)
        for macro in macros:
            parameters = [argument.name for argument in macro.args]
            for call in macro.find_all(nodes.Call):
                taker = known.get(_callee(call))
                argument = _argument(call, taker) if taker else None
                if isinstance(argument, nodes.Name) and argument.name in parameters:
                    position = parameters.index(argument.name)
                    from_end = len(parameters) - position
                    default = macro.defaults[-from_end] if from_end <= len(macro.defaults) else None
                    takers[macro.name] = _Parameter(position, argument.name, default)
        if len(takers) == before:
            return takers


def _calls(tree: nodes.Template) -> Iterator[tuple[nodes.Call, set[str]]]:
    """Yield each call with the parameters of the macro around it."""
    inside: dict[int, set[str]] = {}
    for macro in tree.find_all(nodes.Macro):
        parameters = {argument.name for argument in macro.args}
        for call in macro.find_all(nodes.Call):
            inside[id(call)] = parameters
    for call in tree.find_all(nodes.Call):
        yield call, inside.get(id(call), set())


def _callee(call: nodes.Call) -> str:
    """Return the called name, without the name under which its template was imported."""
    if isinstance(call.node, nodes.Name):
        return call.node.name
    return call.node.attr if isinstance(call.node, nodes.Getattr) else ""


def _argument(call: nodes.Call, taker: _Parameter) -> nodes.Expr | None:
    if taker.position < len(call.args):
        return call.args[taker.position]
    return next((keyword.value for keyword in call.kwargs if keyword.key == taker.name), None)


def _literals(expression: nodes.Expr, where: str) -> Iterator[str]:
    """Yield the literal names that an expression can be."""
    if isinstance(expression, nodes.Const) and isinstance(expression.value, str):
        yield expression.value
    elif isinstance(expression, nodes.CondExpr):
        yield from _literals(expression.expr1, where)
        if expression.expr2 is not None:
            yield from _literals(expression.expr2, where)
    elif isinstance(expression, nodes.Getattr) and expression.attr == NAVIGATION_ATTRIBUTE:
        return
    else:
        raise IconError(f"{where}: the name of an icon must be a literal text, so that the build can find it")
