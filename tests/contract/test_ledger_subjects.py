"""What only the ledger knows of a person, by email: a regulation by user id or anonymous id finds it, too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Connection, delete, func, insert, select, update
from tests.contract.privacy_world import (
    ANN,
    BOB,
    get,
    order,
    person_reader,
    post,
    process,
    regulate,
    traces_of,
    transactions,
)

from punchcard.store.delivery.recoveries import RecoveryReason, start_recovery
from punchcard.store.delivery.schema import effect_subjects
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.schema import subject_keys
from punchcard.store.schema import metadata
from punchcard.testing.partner.scripted import Step
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.subject_vault import SubjectVault

CAROL = ("user-of-carol-0817", "carol.carter@example.com", ANN[2])
"""Another person at the same device."""


def backup(api: PublicApiServer) -> Callable[[], None]:
    """Copy all rows of the database; return what restores them, as an operator would with a copy of the database."""
    with api.store.reading() as work:
        rows = {table: [dict(row._mapping) for row in work.execute(select(table))] for table in metadata.sorted_tables}

    def restore() -> None:
        with api.store.unit_of_work() as work:
            for table in reversed(metadata.sorted_tables):
                work.execute(delete(table))
            for table in metadata.sorted_tables:
                if rows[table]:
                    work.execute(insert(table), rows[table])
            declare_restored(work, api)
        api.restart_routing()
        api.facts.close()
        api._engine = None  # as in a new process

    return restore


def declare_restored(work: Connection, api: PublicApiServer) -> None:
    """Note that the database is older than what has happened since."""
    now, position = api.clock.now(), api.log.last_position()
    start_recovery(
        work,
        reason=RecoveryReason.GENERATION,
        from_position=position,
        through_position=position,
        read_back_from=now,
        doubt_until=None,
        now=now,
    )


def award(api: PublicApiServer) -> None:
    """Route and deliver without Engage: no profile knows which ids belong together."""
    api.route()
    api.feed_lake()
    api.deliver(rounds=3)


def ledger_step(api: PublicApiServer, regulation: str) -> dict[str, Any]:
    """The step of a deletion in the ledger."""
    (step,) = [step for step in get(api, regulation)["storeStatus"] if step["id"] == "ledger"]
    return dict(step)


@pytest.mark.parametrize(("by", "number"), [("USER_ID", 0), ("ANONYMOUS_ID", 2)])
def test_a_deletion_that_is_created_again_after_a_restore_leaves_no_byte(
    api: PublicApiServer, tmp_path: Path, store_url: str, by: str, number: int
) -> None:
    api.send(order(ANN, 1), order(BOB, 2))
    anonymous = order(ANN, 3)
    del anonymous["userId"]
    elsewhere = order((CAROL[0], ANN[1], "another-device-4799"), 4)
    del elsewhere["userId"]  # known by the email of the others
    api.send(anonymous, elsewhere)
    award(api)
    restore = backup(api)
    regulate(api, "DELETE_INTERNAL", ANN[1], by="EMAIL")
    api.run_regulations()
    assert traces_of(tmp_path, store_url, *ANN) == []
    restore()
    assert any(ANN[1] in place for place in traces_of(tmp_path, store_url, *ANN))
    regulation = regulate(api, "DELETE_INTERNAL", ANN[number], by=by)
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "FINISHED", get(api, regulation)["detail"]
    assert not ledger_step(api, regulation)["detail"]
    assert traces_of(tmp_path, store_url, *ANN) == []
    assert [row["email"] for row in transactions(api) if not row["email"].startswith("deleted:")] == [BOB[1]]
    with api.store.reading() as work:  # of Bob: no hash of the deleted person is left
        assert work.scalar(select(func.count()).select_from(effect_subjects)) == 2
    api.send(order(ANN, 1), order(BOB, 2))
    award(api)
    assert len(transactions(api)) == 4  # each is still known as the order that was awarded


@pytest.mark.parametrize(("by", "number"), [("USER_ID", 0), ("ANONYMOUS_ID", 2)])
def test_another_person_at_the_same_device_keeps_the_awards(api: PublicApiServer, by: str, number: int) -> None:
    api.send({"userId": CAROL[0], "traits": {"email": CAROL[1]}}, call="identify", write_key="wk_till")
    api.send(order(ANN, 1), order(CAROL, 2))
    award(api)
    restore = backup(api)
    orders = {"regulationType": "DELETE_INTERNAL", "subjectType": "USER_ID", "subjectIds": [ANN[0], CAROL[0]]}
    post(api, orders, "/api/regulations/sources/website")
    api.run_regulations()
    restore()
    regulation = regulate(api, "DELETE_INTERNAL", ANN[number], by=by)
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "FINISHED"
    assert [row["email"].partition(":")[0] for row in transactions(api)] == [CAROL[1], "deleted"]


@pytest.mark.parametrize("customers", [5, 6])
def test_a_user_id_beside_the_emails_of_many_customers_is_not_theirs(api: PublicApiServer, customers: int) -> None:
    """As of a cashier: the awards of the cashier's events are erased, and no other award of these customers."""
    api.send(*(order(("cashier-0818", f"customer{number}@example.com", ""), number) for number in range(customers)))
    elsewhere = order(("", "customer1@example.com", "device-of-customer-1"), 9)
    del elsewhere["userId"]
    api.send(elsewhere)
    award(api)
    restore = backup(api)
    regulate(api, "DELETE_INTERNAL", "cashier-0818")
    regulate(api, "DELETE_INTERNAL", "customer1@example.com", by="EMAIL")
    api.run_regulations()
    restore()
    regulation = regulate(api, "DELETE_INTERNAL", "cashier-0818")
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "FINISHED"
    named = [row["email"] for row in transactions(api) if not row["email"].startswith("deleted:")]
    assert named == ([] if customers == 5 else ["customer1@example.com"])


def test_a_suppression_by_user_id_stops_awards_that_wait(api: PublicApiServer) -> None:
    """Without a profile, only the ledger knows the awards of a user id."""
    api.partner.script("SEG:perkville:ORDER:o-1:order-completed", [Step.BUSY] * 9)
    api.send(order(ANN, 1), order(BOB, 2))
    award(api)
    regulate(api, "SUPPRESS_ONLY", ANN[0])
    api.run_regulations(rounds=3)
    states = {row["email"]: (row["state"], row["reason"]) for row in transactions(api)}
    assert states[ANN[1]] == ("rejected", "subject_suppressed")
    assert states[BOB[1]] == ("delivered", None)


def test_an_access_request_has_awards_of_events_that_are_gone(api: PublicApiServer) -> None:
    api.send(order(ANN, 1), order(BOB, 2))
    award(api)
    restore = backup(api)
    regulate(api, "DELETE_INTERNAL", ANN[0])
    api.run_regulations()
    restore()
    reader = person_reader(api)
    for subject_type, value in ((SubjectType.USER_ID, ANN[0]), (SubjectType.ANONYMOUS_ID, ANN[2])):
        person = reader.read(subject_type, value)
        assert [row["customer"] for row in person["ledger"]] == [ANN[1]]
        assert person["ids"]["emails"] == [ANN[1]]


def test_awards_go_on_if_the_key_of_the_hashes_cannot_be_decrypted(api: PublicApiServer) -> None:
    api.send(order(ANN, 1))
    award(api)
    other = Keyring(Fernet.generate_key().decode())
    with api.store.unit_of_work() as work:
        work.execute(update(subject_keys).values(key=other.encrypt("00" * 32)))
        assert SubjectVault(other).open_effects(work) is not None
    api.send(order(ANN, 2))
    process(api)
    assert len(api.partner.keys()) == 2
