"""Failures of one computation, one profile or one event in a step, told apart from failures of storage."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from punchcard.engage.computing import ComputingError
from punchcard.errors import StorageError
from punchcard.store.engine import is_storage_fault


def is_isolated(error: Exception) -> bool:
    """Whether what was processed has raised this: a failure of storage concerns everything, and ends the step."""
    return not isinstance(error, StorageError) and not is_storage_fault(error)


@contextmanager
def attribute_failures(keys: Sequence[str]) -> Iterator[None]:
    """Raise whatever fails inside as a failure of these computations.

    Raises:
        ComputingError: something failed that is not storage.
    """
    try:
        yield
    except ComputingError:
        raise
    except Exception as error:
        if not keys or not is_isolated(error):
            raise
        raise ComputingError(str(error) or repr(error), keys=keys) from error
