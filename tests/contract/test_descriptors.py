"""Open files: the worker asks for more than a system gives by default, and a shortage is named as what it is."""

import resource
import subprocess
import sys
import textwrap

import pytest


def output_of(code: str, *arguments: str) -> str:
    """Run Python in a process of its own, as its limits cannot be raised again."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("soft", "needed", "expected"),
    [(64, 100, 100), (64, 10_000, 200), (150, 100, 150)],
    ids=["more", "as many as there may be", "enough"],
)
def test_a_process_gets_what_it_needs_and_the_system_allows(soft: int, needed: int, expected: int) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 200
    code = f"""
        import resource
        from punchcard.runtime.descriptors import raise_descriptor_limit
        resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, 200))
        print(raise_descriptor_limit({needed}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    """
    assert output_of(code) == f"{expected} {expected}"


def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_no_matter_of_permissions(sqlite_url: str) -> None:
    code = """
        import os, resource, sys
        from punchcard.errors import StorageError
        from punchcard.store.engine import Store
        store = Store(sys.argv[1])
        store.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True:
                os.open(os.devnull, os.O_RDONLY)
        except OSError:
            pass
        try:
            store.ping()
        except StorageError as error:
            print(error.message)
    """
    message = output_of(code, sqlite_url)
    assert "Too many files are open: raise this process's limit" in message
    assert "must be able to write" not in message
