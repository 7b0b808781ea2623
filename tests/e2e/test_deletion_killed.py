"""Deletions of the real product: killed at each step, and beside copies of the database that are restored later."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.contract.privacy_world import ANN, BOB, order, traces_of

from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import unfinished_regulations
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.s3_server import S3Server, lake_folder
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long

_SECONDS_MAX = 600.0  # replaced files stay for readers for a minute, and each kill costs a start of the worker
_STAGES = ("waiting", "profiles", "records", "lake", "profiles_again", "remaining")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


def send_orders(product: ProductProcess) -> None:
    """Two orders of Ann and one of Bob, delivered."""
    assert product.send("batch", {"batch": [order(ANN, 1), order(BOB, 2), order(ANN, 3)]})[0] == 200
    for number in (1, 2, 3):
        product.wait_for_status(f"m-{number}", "delivered")


def delete_ann(product: ProductProcess, *, by: str = "USER_ID") -> str:
    """Create the deletion; return its id."""
    subject = ANN[1] if by == "EMAIL" else ANN[0]
    body = {"regulationType": "DELETE_INTERNAL", "subjectType": by, "subjectIds": [subject]}
    status, result = product.call("POST", "/api/regulations", body=body)
    assert status == 200, result
    return str(result["data"]["regulateId"])


def view_of(product: ProductProcess, regulation: str) -> dict[str, Any]:
    """The regulation as the Public API shows it, empty while it cannot be read."""
    status, body = product.call("GET", f"/api/regulations/{regulation}")
    return dict(body["data"]["regulation"]) if status == 200 else {}


def wait_until_finished(product: ProductProcess, regulation: str) -> None:
    """Return once nothing of the deletion is left to do."""
    wait_until(
        lambda: view_of(product, regulation).get("overallStatus") == "FINISHED",
        lambda: str(view_of(product, regulation)),
        seconds=_SECONDS_MAX,
    )


def stage_of(store: Store) -> str:
    """The step that the deletion is at, "done" if there is none."""
    with store.reading() as work:
        regulations = unfinished_regulations(work)
    return regulations[0].stage if regulations else "done"


def check_result(product: ProductProcess, sandbox: SandboxProcess) -> None:
    """Bob has his award, and the same order of Ann in another message earns nothing."""
    again = {**order(ANN, 9), "properties": order(ANN, 1)["properties"]}
    assert product.send("track", again)[0] == 200
    product.wait_for_status("m-9", "duplicate")
    product.wait_for_status("m-2", "delivered")
    assert len(sandbox.transactions()) == 3


@pytest.mark.timeout(1_200)
def test_a_deletion_that_is_killed_at_each_step_ends_in_the_same_state(
    tmp_path: Path, sandbox: SandboxProcess, empty_postgres_url: str, s3_server: S3Server
) -> None:
    """The worker ends by SIGKILL as soon as a step begins, with the database in PostgreSQL and the lake on S3."""
    lake_url = s3_server.new_lake()
    environment = {
        **s3_server.environment(),
        "PUNCHCARD_LAKE_URL": lake_url,
        "PUNCHCARD_DATABASE_URL": empty_postgres_url,
    }
    content = configuration(perkville_url=sandbox.url)
    with ProductProcess(tmp_path / "product", content, environment=environment) as product:
        send_orders(product)
        store = Store(empty_postgres_url)
        regulation = delete_ann(product)
        killed: list[str] = []
        for _ in range(2 * len(_STAGES)):
            stage = wait_until(
                lambda: stage if (stage := stage_of(store)) not in killed else "",
                lambda: f"killed at {killed}: {view_of(product, regulation)}",
                seconds=_SECONDS_MAX,
            )
            if stage == "done":
                break
            pid = wait_until(product.worker_pid)
            product.kill_worker()
            wait_until(lambda pid=pid: product.worker_pid() not in (None, pid))  # type: ignore[misc]
            killed.append(stage)
        store.close()
        # A step that takes a moment may be over before it is seen; the last waits for a minute.
        assert killed[-1] == "remaining", killed
        wait_until_finished(product, regulation)
        assert traces_of(product.data, empty_postgres_url, *ANN) == []
        assert traces_of(lake_folder(lake_url), empty_postgres_url, *ANN) == []
        check_result(product, sandbox)


def copy_database(source: Path, copy: Path) -> None:
    """Copy the database while Punchcard runs, as the page on backups says."""
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(copy)) as target:
        database.backup(target)


def put_back(database: Path, copy: Path) -> None:
    """Restore the database while Punchcard is stopped."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    shutil.copy(copy, database)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("copied", ["before", "meanwhile"])
def test_a_deletion_holds_after_the_restore_of_an_older_database(
    tmp_path: Path, sandbox: SandboxProcess, copied: str
) -> None:
    """A copy made during the deletion takes it up again; for one made before, Home says what an operator must do."""
    content = configuration(perkville_url=sandbox.url)
    folder, copy = tmp_path / "product", tmp_path / "copy.db"
    database = folder / "data" / "punchcard.db"
    url = f"sqlite:///{database}"
    with ProductProcess(folder, content) as product:
        send_orders(product)
        if copied == "before":
            copy_database(database, copy)
        regulation = delete_ann(product)
        if copied == "meanwhile":
            store = Store(url)
            wait_until(lambda: stage_of(store) == "remaining", seconds=_SECONDS_MAX)
            store.close()
            copy_database(database, copy)
        wait_until_finished(product, regulation)
        assert traces_of(product.data, url, *ANN) == []
        regulations = [regulation]
    put_back(database, copy)
    if copied == "before":
        assert traces_of(folder / "data", url, *ANN) != []
    with ProductProcess(folder) as product:
        if copied == "before":
            wait_until(
                lambda: "create these regulations again" in str(product.call("GET", "/api/alerts")[1]),
                lambda: str(product.call("GET", "/api/alerts")),
            )
            # The events that showed which email the user id has are gone; the restored ledger has the email.
            regulations = [delete_ann(product), delete_ann(product, by="EMAIL")]
        for regulation in regulations:
            wait_until_finished(product, regulation)
        traces = traces_of(product.data, url, *ANN)
        assert traces == [], "\n".join(traces)
        check_result(product, sandbox)
