"""The database is restored from an older copy while Perkville has gone on: nothing is doubled, and nothing is lost.

One history for every way in which a data folder can come back: orders, refunds and visits are delivered before the copy
is made, some wait in its queue and are delivered after it, some come after it, some wait in the queue that is lost.
Then senders repeat everything under new message ids. Perkville's own ledger decides.
"""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from punchcard.lake.reader import LakeReader
from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@dataclass(frozen=True)
class Sale:
    """One thing that a sender tells, and what must stand at Perkville for it in the end."""

    number: int
    kind: str

    @property
    def email(self) -> str:
        return f"customer-{self.number % 7}@example.com"

    @property
    def amount(self) -> Decimal:
        return Decimal(10 + self.number)

    def message(self, suffix: str) -> dict[str, object]:
        """The event; a visit is known by its message id, so that a sender repeats it with the same one."""
        order = {"email": self.email, "order_id": f"{self.number}"}
        name, properties, message_id = {
            "order": ("Order Completed", {**order, "revenue": str(self.amount)}, f"order-{self.number}-{suffix}"),
            "refund": ("Order Refunded", {**order, "refund_id": "r1"}, f"refund-{self.number}-{suffix}"),
            "visit": ("Checked In", {"email": self.email}, f"visit-{self.number}"),
        }[self.kind]
        body: dict[str, object] = {"type": "track", "event": name, "userId": self.email, "properties": properties}
        return {**body, "messageId": message_id}

    @property
    def key(self) -> str:
        return {
            "order": f"SEG:perkville:ORDER:{self.number}:order-completed",
            "refund": f"SEG:perkville:REFUND:{self.number}:r1",
            "visit": f"SEG:website:EVENT:visit-{self.number}",
        }[self.kind]

    @property
    def quantity(self) -> Decimal:
        return {"order": self.amount, "refund": -self.amount, "visit": Decimal(1)}[self.kind]


def sales(first: int, count: int) -> list[Sale]:
    """Orders and visits, every third order refunded without an amount: the ledger decides what it takes."""
    result: list[Sale] = []
    for number in range(first, first + count):
        result += [Sale(number, "order"), Sale(number, "visit")]
        if number % 3 == 0:
            result.append(Sale(number, "refund"))
    return result


def send(product: ProductProcess, sales: list[Sale], suffix: str) -> None:
    for begin in range(0, len(sales), 10):
        batch = {"batch": [sale.message(suffix) for sale in sales[begin : begin + 10]]}
        assert product.send("batch", batch)[0] == 200


def book(sandbox: SandboxProcess) -> list[tuple[str, Decimal]]:
    return sorted(
        (transaction["trans_source_id"], Decimal(transaction["quantity"])) for transaction in sandbox.transactions()
    )


def copy_database(source: Path, copy: Path) -> None:
    """As the page on operating says, while Punchcard runs."""
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(copy)) as target:
        database.backup(target)


def put_back(place: Path, copy: Path) -> None:
    for file in place.parent.glob(f"{place.name}*"):
        file.unlink()
    shutil.copy(copy, place)


def open_effects(data: Path) -> int:
    with closing(sqlite3.connect(data / "punchcard.db")) as store:
        return int(store.execute("SELECT count(*) FROM effects WHERE is_open").fetchone()[0])


def lake_position(data: Path) -> int:
    return LakeReader(str(data / "lake")).last_position()


@dataclass(frozen=True)
class Damage:
    """How a data folder comes back: what besides the database is older, trimmed or lost."""

    name: str
    is_killed: bool
    trimmed_log: bool = False
    older_log: bool = False
    older_lake: bool = False
    lost_lake: bool = False
    declared: bool = False
    is_complete: bool = True  # False: what was queued at the end is in no copy, and comes back with its sender only

    def strike(self, data: Path, copies: Path) -> None:
        put_back(data / "punchcard.db", copies / "punchcard.db")
        if self.trimmed_log:
            with closing(SqliteEventLog(data / "log.db")) as log:
                log.trim(lake_position(data), records_max=100_000)
        if self.older_log:
            put_back(data / "log.db", copies / "log.db")
        if self.lost_lake or self.older_lake:
            shutil.rmtree(data / "lake")
        if self.older_lake:
            shutil.copytree(copies / "lake", data / "lake")
        if self.declared:
            shutil.copy(copies / "generation", data / "generation")


DAMAGES = [
    Damage("database", is_killed=False),
    Damage("database-after-a-kill", is_killed=True),
    Damage("trimmed-log", is_killed=False, trimmed_log=True),
    Damage("lost-lake", is_killed=True, lost_lake=True),
    Damage("older-log", is_killed=True, older_log=True, is_complete=False),
    Damage("older-lake-and-trimmed-log", is_killed=False, trimmed_log=True, older_lake=True, is_complete=False),
    Damage("everything", is_killed=False, older_log=True, older_lake=True, declared=True, is_complete=False),
]


@pytest.mark.parametrize(
    ("damage", "mode"),
    [
        *(pytest.param(damage, "accept", id=f"{damage.name}-accept") for damage in DAMAGES),
        *(pytest.param(damage, "400", id=f"{damage.name}-refuse") for damage in DAMAGES[:1]),
    ],
)
def test_nothing_is_doubled_and_nothing_is_lost(
    tmp_path: Path, sandbox: SandboxProcess, damage: Damage, mode: str
) -> None:
    folder, copies = tmp_path / "product", tmp_path / "copies"
    copies.mkdir()
    sandbox.faults({"duplicateAnswer": mode})
    before, queued, since, lost = sales(0, 6), sales(100, 6), sales(200, 6), sales(300, 6)
    away = {"duplicateAnswer": mode, "status": 503}
    with ProductProcess(folder, configuration(perkville_url=sandbox.url, options={"retryBaseSeconds": 0.5})) as product:
        data = product.data
        send(product, before, "1")
        wait_until(lambda: len(book(sandbox)) == len(before), lambda: book(sandbox))
        sandbox.faults(away)
        send(product, queued, "1")
        wait_until(lambda: open_effects(data) == len(queued), lambda: open_effects(data))
        wait_until(lambda: lake_position(data) > 0, lambda: lake_position(data))
        copy_database(data / "punchcard.db", copies / "punchcard.db")
        copy_database(data / "log.db", copies / "log.db")
        shutil.copytree(data / "lake", copies / "lake")
        shutil.copy(data / "generation", copies / "generation")
        sandbox.faults({"duplicateAnswer": mode})
        send(product, since, "1")
        delivered = len(before) + len(queued) + len(since)
        wait_until(lambda: len(book(sandbox)) == delivered, lambda: book(sandbox))
        sandbox.faults(away)
        send(product, lost, "1")
        wait_until(lambda: open_effects(data) == len(lost), lambda: open_effects(data))
        if damage.is_killed:
            product.kill_worker()
            product.kill()
    damage.strike(data, copies)
    sandbox.faults({"duplicateAnswer": mode})
    if damage.declared:
        declared = command("recover", "--yes", "--data", str(data))
        assert (declared.returncode, declared.stdout.split()[0]) == (0, str(len(queued)))
    reported = before + queued + since + lost
    expected = sorted((item.key, item.quantity) for item in reported)
    with ProductProcess(folder) as product:
        if damage.is_complete:
            wait_until(lambda: len(book(sandbox)) >= len(reported), lambda: book(sandbox))
        send(product, reported, "2")
        product.track("Checked In", {"email": "last@example.com"}, messageId="last")
        product.wait_for_status("last", "delivered")
        wait_until(lambda: open_effects(data) == 0, lambda: open_effects(data))
        assert damage.declared or product.logged("older_store_found")
    booked = [row for row in book(sandbox) if row[0] != "SEG:website:EVENT:last"]
    doubled = [key for key, number in Counter(key for key, _ in booked).items() if number > 1]
    assert doubled == []
    assert booked == expected


def copy_postgres(url: str, *, source: str, target: str) -> None:
    """Put a copy of one database, which nobody uses, in the place of another one."""
    server = make_url(url).set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(target), sql.Identifier(source))
        )


def test_a_postgresql_database_that_is_restored_finds_what_was_delivered_since(
    tmp_path: Path, sandbox: SandboxProcess, empty_postgres_url: str
) -> None:
    sandbox.faults({"duplicateAnswer": "accept"})
    name = make_url(empty_postgres_url).database or ""
    environment = {"PUNCHCARD_DATABASE_URL": empty_postgres_url, "PUNCHCARD_SECRET_KEY": "correct horse battery staple"}
    before, since = sales(0, 4), sales(100, 6)
    with ProductProcess(tmp_path, configuration(perkville_url=sandbox.url), environment=environment) as product:
        send(product, before, "1")
        wait_until(lambda: len(book(sandbox)) == len(before), lambda: book(sandbox))
    copy_postgres(empty_postgres_url, source=name, target=f"{name}_copy")
    try:
        with ProductProcess(tmp_path, environment=environment) as product:
            send(product, since, "1")
            wait_until(lambda: len(book(sandbox)) == len(before + since), lambda: book(sandbox))
        copy_postgres(empty_postgres_url, source=f"{name}_copy", target=name)
        with ProductProcess(tmp_path, environment=environment) as product:
            send(product, before + since, "2")
            product.track("Checked In", {"email": "last@example.com"}, messageId="last")
            product.wait_for_status("last", "delivered")
            for item in since:
                if item.kind != "visit":
                    product.wait_for_status(str(item.message("2")["messageId"]), "duplicate")
            assert product.logged("older_store_found")
    finally:
        copy_postgres(empty_postgres_url, source="template1", target=f"{name}_copy")
    booked = [row for row in book(sandbox) if row[0] != "SEG:website:EVENT:last"]
    assert booked == sorted((item.key, item.quantity) for item in before + since)
