"""Threads that read one table of the lake: who waits while it cannot be read does not try again after the others."""

import threading
import time
from typing import cast

import pytest

from punchcard.errors import LakeError
from punchcard.lake.shared_table import SharedTable
from punchcard.lake.table import LakeTable
from punchcard.testing.waiting import wait_until

READERS = 5


class SilentTable:
    """A table on an object store that does not answer, until its time limit is over."""

    def __init__(self) -> None:
        self.time_is_over = threading.Event()
        self.attempts = 0

    def refresh(self) -> bool:
        self.attempts += 1
        self.time_is_over.wait()
        raise LakeError("No response.", code="object_store_unavailable")


def test_those_that_waited_get_the_error_and_the_next_one_tries_again() -> None:
    table = SilentTable()
    shared = SharedTable(cast(LakeTable, table))
    errors: list[LakeError] = []
    begun: list[int] = []

    def read(number: int) -> None:
        begun.append(number)
        with pytest.raises(LakeError) as caught, shared.newest():
            pass
        errors.append(caught.value)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(begun) == READERS and table.attempts == 1)
    time.sleep(0.2)  # for the others to wait, too
    table.time_is_over.set()
    for thread in threads:
        thread.join()
    assert table.attempts == 1
    assert {(error.code, error.message) for error in errors} == {("object_store_unavailable", "No response.")}
    read(READERS)
    assert table.attempts == 2
