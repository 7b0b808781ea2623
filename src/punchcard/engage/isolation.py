"""Failures of one computation, one profile or one event, separated from failures of storage."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from punchcard.engage.computing import ComputingError
from punchcard.errors import StorageError
from punchcard.store.engine import is_storage_fault


def is_isolated(error: Exception) -> bool:
    """Return whether the processed data caused the error; a failure of storage affects everything and ends the step."""
    return not isinstance(error, StorageError) and not is_storage_fault(error)


@contextmanager
def attribute_failures(keys: Sequence[str]) -> Iterator[None]:
    """Convert a failure inside the block into a failure of these computations.

    ComputingError: Something other than storage failed.
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
