"""A filter with an argument that its function does not know would never match: it is refused when it is saved."""

import pytest

from punchcard.filters.argument_checks import find_argument_problems
from punchcard.filters.parser import parse
from punchcard.workspace.model import Destination, DestinationFilter, Workspace
from punchcard.workspace.validate import find_problems

OPERATORS = "'=' '!=' '>' '>=' '<' '<='"


@pytest.mark.parametrize(
    ("condition", "part"),
    [
        ("semver( context.app.version, '==', '2' )", f"no operator '=='. Its operators are {OPERATORS}."),
        ("semver( context.app.version, '', '2' )", "no operator ''"),
        ("semver( context.app.version, 1, '2' )", "no operator 1"),
        ("!(type = 'track' and semver( p.v, '~', '2' ))", "no operator '~'"),
        ("semver( context.app.version, '>', 'v2' )", "cannot read 'v2' as a version"),
        ("semver( '1.2.3.4', '>', p.v )", "cannot read '1.2.3.4' as a version"),
        ("match( p.a, '[' )", "cannot read the pattern '['"),
        ("typeof( p.a ) = 'text'", "never returns 'text'. It returns string, number"),
        ("'boolean' != typeof( p.a )", "never returns 'boolean'"),
    ],
)
def test_an_argument_that_a_function_does_not_know_is_refused_when_saved(condition, part):
    destination = Destination(
        slug="perkville",
        type="perkville",
        sources=(),
        settings={},
        filters=(DestinationFilter(title="x", condition=condition, actions=[{"type": "drop"}]),),
    )
    problems = find_problems(Workspace(destinations=(destination,)))
    messages = [problem.message for problem in problems if problem.path[-1] == "if"]
    assert any(part in message for message in messages), messages


@pytest.mark.parametrize(
    "condition",
    [
        *(f"semver( context.app.version, '{operator}', '2.1' )" for operator in ("=", "!=", ">", ">=", "<", "<=")),
        "semver( context.app.version, properties.operator, '2.1' )",
        "match( p.a, 'x*[a-z]' )",
        "typeof( p.a ) = 'string'",
        "contains( p.a, 'b' )",
    ],
)
def test_what_a_function_knows_is_taken(condition):
    assert list(find_argument_problems(parse(condition))) == []
