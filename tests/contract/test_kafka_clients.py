"""The clients of librdkafka outlive whatever refers to them, until one of our own threads destroys them."""

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("confluent_kafka")

GARBAGE = """
    import gc, os, sys, threading

    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AdminClient

    from punchcard.log.kafka_clients import destroy_unused, open_client

    NOBODY_LISTENS = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}


    def threads():
        names = [open(f"/proc/self/task/{number}/comm").read() for number in os.listdir("/proc/self/task")]
        return sum(name.startswith("rdk:") for name in names)


    client = open_client(AdminClient, NOBODY_LISTENS)
    (future,) = client.describe_topics(TopicCollection(["events"]), request_timeout=1).values()
    collected = threading.Event()
    future.add_done_callback(lambda _: (gc.collect(), collected.set()))  # called by the client's own thread
    cycle = {"client": client}
    cycle["cycle"] = cycle
    del client, cycle, future
    assert collected.wait(60)
    assert threads() > 0
    destroy_unused()
    print("destroyed" if threads() == 0 else "left")
"""


def test_garbage_that_a_client_itself_collects_does_not_abort_the_process() -> None:
    """Promise: a cluster that is away never ends a process.

    Errors of requests refer to the frames that made them, and so to the client.
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(GARBAGE)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "destroyed"), done.stderr
