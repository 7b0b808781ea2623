"""Several machines on one PostgreSQL, for tests: their settings, and a sender that repeats what is refused."""

from collections import Counter
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import tomli_w

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import repeated_meanwhile, wait_until

DEFECTS = ("routing_stopped", "lake_stopped", "delivery_stopped", "engage_stopped", "InvariantError", "defect")
"""What no log may contain, whatever happens to the machines."""

_PAUSE_SECONDS = 0.1  # between two visits, so that their awards are few


class Sender:
    """Sends visits to several machines in turn, each until it is acknowledged, as Segment's libraries do.

    Args:
        name: Begins the message ids.
    """

    def __init__(self, name: str = "visit") -> None:
        self._name = name
        self.acknowledged: list[str] = []
        self.refused: Counter[int] = Counter()

    def send(self, count: int, *machines: ProductProcess) -> None:
        """Send visits until each is acknowledged."""
        for _ in range(count):
            message_id = f"{self._name}-{len(self.acknowledged)}"
            machine = machines[len(self.acknowledged) % len(machines)]
            wait_until(partial(self._try, machine, message_id))
            self.acknowledged.append(message_id)

    def awards(self, sandbox: SandboxProcess) -> Counter[str]:
        """Return how often each visit of this sender was awarded."""
        keys = [str(transaction["trans_source_id"]).rpartition(":")[2] for transaction in sandbox.transactions()]
        return Counter(key for key in keys if key.startswith(f"{self._name}-"))

    def wait_until_awarded(self, sandbox: SandboxProcess) -> None:
        """Wait until every acknowledged visit is awarded; exactly once, and nothing else.

        Raises:
            AssertionError: A visit is not awarded, or more than once.
        """
        wait_until(lambda: len(self.awards(sandbox)) >= len(self.acknowledged))
        assert self.awards(sandbox) == Counter(self.acknowledged)

    def _try(self, machine: ProductProcess, message_id: str) -> bool:
        status = machine.track("Checked In", {"email": f"{message_id}@example.com"}, messageId=message_id)
        if status != 200:
            self.refused[status] += 1
        return status == 200


def sending_meanwhile(sender: Sender, *machines: ProductProcess) -> AbstractContextManager[None]:
    """Send visit after visit for the length of the block, whatever happens in it."""
    return repeated_meanwhile(partial(sender.send, 1, *machines), pause_seconds=_PAUSE_SECONDS)


def configured_machines(database_url: str, sandbox: SandboxProcess, folder: Path) -> dict[str, str]:
    """Return the settings that all machines share, after the configuration was applied from yet another one."""
    environment = {
        "PUNCHCARD_DATABASE_URL": database_url,
        "PUNCHCARD_LOG_URL": database_url,
        "PUNCHCARD_SECRET_KEY": "correct horse battery staple",
    }
    config = folder / "punchcard.toml"
    config.write_text(tomli_w.dumps(configuration(perkville_url=sandbox.url)))
    applied = command("apply", str(config), "--data", str(folder / "office"), environment=environment)
    assert applied.returncode == 0, applied.stderr
    return environment


def defects_in(*logs: str) -> list[str]:
    """Return the lines of logs that tell of a defect."""
    return [line for log in logs for line in log.splitlines() if any(defect in line for defect in DEFECTS)]
