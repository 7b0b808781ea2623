"""Saved audiences and computed traits compile; one that cannot be used is reported, alone."""

import pytest

from punchcard.workspace.computations import compile_computations
from punchcard.workspace.model import Computation, Workspace
from punchcard.workspace.validate import find_problems

GOOD = "event('Order Completed').count() >= 1"


def audience(key: str, definition: str = GOOD, **more: str) -> Computation:
    return Computation(kind="audience", key=key, name=key, definition=definition, **more)


@pytest.mark.parametrize(
    ("computation", "message"),
    [
        (audience("a", sync="every 99999999999999999999 days"), "is not a sync interval"),
        (audience("a", sync="every " + "9" * 5_000 + " hours"), "is not a sync interval"),
        (audience("a", sync="every 366 days"), "is not a sync interval"),
        (audience("a", sync="every 99999999 hours"), "is not a sync interval"),
        (audience("a", sync="every 0 hours"), "is not a sync interval"),
        (audience("a", "("), ""),
        (audience("a", "(" * 5_000 + GOOD + ")" * 5_000), ""),
        (audience("a", f"not {GOOD} and " * 3_000 + GOOD), ""),
    ],
)
def test_what_cannot_be_used_is_a_problem_and_no_exception(computation: Computation, message: str) -> None:
    problems = list(find_problems(Workspace(computations=(computation,))))
    assert problems
    assert message in problems[0].message
    usable, invalid = compile_computations([computation, audience("b")])
    assert set(usable) == {"b"}
    assert set(invalid) == {"a"}


def test_a_key_that_is_the_address_of_a_page_is_refused() -> None:
    (problem,) = find_problems(Workspace(computations=(audience("new"), audience("newcomers"))))
    assert problem.path == ("audiences", 0, "key")
    assert "Choose another key" in problem.message


def test_a_definition_that_the_compiler_fails_on_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ValueError("a defect of the compiler")

    monkeypatch.setattr("punchcard.workspace.computations.statement", fail)
    (problem,) = find_problems(Workspace(computations=(audience("a", "event('Only here').count() >= 1"),)))
    assert (
        problem.message
        == "This definition cannot be compiled. Please report this. ValueError: a defect of the compiler"
    )
    assert problem.path == ("audiences", 0, "definition")


def test_only_those_of_a_circle_cannot_be_used() -> None:
    circle = [
        audience("a", "trait('b') = true"),
        audience("b", "trait('c') = true"),
        audience("c", "trait('a') = true"),
    ]
    usable, invalid = compile_computations([*circle, audience("d", "trait('a') = true"), audience("e")])
    assert set(usable) == {"d", "e"}
    assert set(invalid) == {"a", "b", "c"}
