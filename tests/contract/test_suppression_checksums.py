"""Suppressed persons among very many others: a checksum spares hashing the others, and never hides a suppressed one."""

import random
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update
from tests.contract.privacy_world import order, regulate

from punchcard.events.parse import read_request
from punchcard.operations.missing_checksums import MissingChecksums
from punchcard.routing.checksum_filter import ChecksumFilter
from punchcard.routing.suppression import Suppressions
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.schema import suppressed_subjects
from punchcard.testing.clock import ManualClock
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.subject_vault import SubjectHashes

NOW = ManualClock().now()
BY: dict[SubjectType, int] = {SubjectType.USER_ID: 0, SubjectType.EMAIL: 1, SubjectType.ANONYMOUS_ID: 2}
PERSONS = [(f"user-{number}", f"person{number}@Example.com", f"dévice-{number}") for number in range(400)]
SUPPRESSED = random.Random(1).sample(range(400), 37)


def suppressed_among(suppressions: Suppressions, persons: list[tuple[str, str, str]]) -> set[int]:
    """Return the numbers of the persons with events that are refused, all looked up together."""
    suppressions.refresh()
    items = [
        read_request(
            msgspec.json.encode(order(person, number)),
            call="track",
            received_at=NOW,
            position=number + 1,
        )[0]
        for number, person in enumerate(persons)
    ]
    return suppressions.find(items, "website")


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the values that are hashed from now on."""
    values: list[str] = []
    hasher = SubjectHashes.hasher

    def counting(self: SubjectHashes, subject_type: SubjectType) -> Any:
        digest = hasher(self, subject_type)

        def counted(value: str) -> bytes:
            values.append(value)
            return digest(value)

        return counted

    monkeypatch.setattr(SubjectHashes, "hasher", counting)
    return values


@pytest.mark.parametrize("by", list(BY), ids=str)
def test_exactly_the_suppressed_ones_of_many_persons_are_found(
    api: PublicApiServer, by: SubjectType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in SUPPRESSED:
        value = PERSONS[number][BY[by]]
        regulate(api, "SUPPRESS_ONLY", f" {value.upper()} " if by is SubjectType.EMAIL else value, by=by.value)
    suppressions = Suppressions(api.store, api.subjects, clock=api.clock)
    suppressions.refresh()
    values = hashed(monkeypatch)
    assert suppressed_among(suppressions, PERSONS) == set(SUPPRESSED)
    assert len(values) < 100  # of 400


def test_a_subject_of_an_earlier_version_is_found_and_gets_its_checksum(
    api: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    regulate(api, "SUPPRESS_ONLY", PERSONS[3][0])
    regulate(api, "SUPPRESS_WITH_DELETE", PERSONS[5][0])  # known by its hash only
    with api.store.unit_of_work() as work:
        work.execute(update(suppressed_subjects).values(checksum=None))
    suppressions = Suppressions(api.store, api.subjects, clock=api.clock)
    assert suppressed_among(suppressions, PERSONS) == {3, 5}
    missing = MissingChecksums(api.store, api.subjects)
    while missing.step():
        pass
    with api.store.reading() as work:
        rows = work.execute(select(suppressed_subjects.c.value, suppressed_subjects.c.checksum)).all()
    assert sorted((row.value is None, row.checksum is None) for row in rows) == [(False, False), (True, True)]
    api.clock.advance(1)
    assert suppressed_among(suppressions, PERSONS) == {3, 5}
    regulate(api, "SUPPRESS_ONLY", PERSONS[5][0])  # named again, so that all checksums are known
    api.clock.advance(1)
    values = hashed(monkeypatch)
    assert suppressed_among(suppressions, PERSONS) == {3, 5}
    assert len(values) < 100


def test_a_person_suppressed_again_after_unsuppress_is_found(api: PublicApiServer) -> None:
    suppressions = Suppressions(api.store, api.subjects, clock=api.clock)
    for type_, numbers in (("SUPPRESS_ONLY", {7}), ("UNSUPPRESS", set()), ("SUPPRESS_ONLY", {7})):
        regulate(api, type_, PERSONS[7][0])
        api.clock.advance(1)
        assert suppressed_among(suppressions, PERSONS) == numbers


def test_the_store_has_no_checksum_that_can_be_compared_without_the_key(api: PublicApiServer) -> None:
    regulate(api, "SUPPRESS_ONLY", PERSONS[1][0])
    with api.store.reading() as work:
        (row,) = work.execute(select(suppressed_subjects.c.digest, suppressed_subjects.c.checksum)).all()
        hashes = api.subjects.open(work)
    assert hashes is not None
    plain = int.from_bytes(hashes.checksums(SubjectType.USER_ID, [PERSONS[1][0]]), "little")
    assert row.checksum != plain
    assert hashes.unmask(bytes.fromhex(row.digest), row.checksum) == plain
    assert SubjectHashes(b"another key").unmask(bytes.fromhex(row.digest), row.checksum) != plain


def test_a_filter_passes_every_known_id_and_few_others() -> None:
    hashes = SubjectHashes(b"a key")
    known = [f"gone-{number}" for number in range(20_000)]
    made = ChecksumFilter()
    for value in known:
        made.add(int.from_bytes(hashes.checksums(SubjectType.USER_ID, [value]), "little"))
    others = [f"user-{number}" for number in range(20_000)]

    def checksums(values: Any) -> bytes:
        return hashes.checksums(SubjectType.USER_ID, values)

    assert made.possible(known, checksums) == known
    assert len(made.possible(others, checksums)) < 2_000
    mixed = [*others[:50], known[-1], "half a character \ud800"]
    assert known[-1] in made.possible(mixed, checksums)
    assert made.possible(mixed, checksums) == mixed
    assert made.possible(others[:3], checksums) == others[:3]  # hashing these takes less time
