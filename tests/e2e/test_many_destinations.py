"""A chain with a destination for each of its clubs: every one of them delivers, on the limits of common systems."""

import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.postgres import RestartedPostgres
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long

_CLUBS = 60
_CONNECTIONS = 40  # a user's limit: less than one for each club, and what serving and working need otherwise


def a_source_and_a_destination_for_each_club(sandbox: SandboxProcess) -> dict[str, Any]:
    content: dict[str, Any] = dict(configuration(perkville_url=sandbox.url))
    (source,), (destination,) = content["sources"], content["destinations"]
    content["sources"] = [{**source, "slug": f"club-{n}", "write_key": f"wk_{n}"} for n in range(_CLUBS)]
    content["destinations"] = [{**destination, "slug": f"perks-{n}", "source": f"club-{n}"} for n in range(_CLUBS)]
    return content


def visit(product: ProductProcess, club: int, number: int) -> None:
    event = {
        "userId": f"ann-{club}",
        "event": "Checked In",
        "messageId": f"{club}-{number}",
        "properties": {"email": f"ann-{club}@example.com"},
    }
    assert product.send("track", event, write_key=f"wk_{club}")[0] == 200


def has_booked(sandbox: SandboxProcess, count: int) -> bool:
    return len(sandbox.transactions()) >= count


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_every_destination_delivers(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with ExitStack() as stack:
        environment = {}
        if engine == "postgresql":
            server: RestartedPostgres = request.getfixturevalue("own_postgres")
            with psycopg.connect(server.url, autocommit=True) as administrator:
                administrator.execute(f"CREATE ROLE chain LOGIN CONNECTION LIMIT {_CONNECTIONS}".encode())
                administrator.execute("CREATE DATABASE chain OWNER chain")
            url = make_url(server.url).set(username="chain", database="chain")
            environment["PUNCHCARD_DATABASE_URL"] = url.render_as_string(hide_password=False)
        sandbox = stack.enter_context(SandboxProcess(tmp_path / "sandbox"))
        content = a_source_and_a_destination_for_each_club(sandbox)
        product = stack.enter_context(ProductProcess(tmp_path / "product", content, environment=environment))
        for number in range(2):  # the second one after all loops have come to rest
            for club in range(_CLUBS):
                visit(product, club, number)
            wait_until(partial(has_booked, sandbox, (number + 1) * _CLUBS))
        booked = [(transaction["email"], transaction["trans_source_id"]) for transaction in sandbox.transactions()]
        assert len(booked) == len(set(booked)) == 2 * _CLUBS
        assert product.logged("storage_failed") == []


def test_a_damaged_row_of_one_destination_stops_no_other(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox") as sandbox:
        content = a_source_and_a_destination_for_each_club(sandbox)
        with ProductProcess(tmp_path / "product", content) as product:
            sandbox.faults({"status": 503, "rate": 1})
            for club in range(3):
                visit(product, club, 0)
            for club in range(3):
                product.wait_for_status(f"{club}-0", "retrying")
            product.kill()
        with closing(sqlite3.connect(product.data / "punchcard.db")) as database:
            database.execute("UPDATE effects SET due_at = ? WHERE destination = 'perks-0'", [-(2**62)])
            database.commit()
        sandbox.faults({})
        with ProductProcess(tmp_path / "product", content) as product:
            for club in range(1, 3):
                product.wait_for_status(f"{club}-0", "delivered")
            visit(product, 3, 0)
            product.wait_for_status("3-0", "delivered")
