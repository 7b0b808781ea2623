"""Static lists: what a file makes of an audience, through uploads, crashes, merges and deletions."""

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations.export_files import ExportFormat, write_export
from punchcard.operations.list_uploads import ListUploads, NewUpload, export_list, find_upload, read_problems
from punchcard.profiles.erasure import ErasedIds
from punchcard.profiles.rules import IdentityRules
from punchcard.store.engage import static_lists
from punchcard.store.engage.erasure import erase_profile_ids, erase_profiles
from punchcard.store.engage.profiles import ids_of
from punchcard.store.engage.schema import list_entries
from punchcard.store.engage.static_lists import ListUpload, UploadStatus
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.sync_world import KEY as SYNC_KEY
from punchcard.testing.sync_world import SyncWorld
from punchcard.workspace.keyring import open_keyring
from punchcard.workspace.subject_vault import SubjectVault

KEY = "vip"
VIP = "list('vip')"


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> SubjectVault:
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("the key of a test")
    return SubjectVault(open_keyring(None, key))


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[EngageWorld]:
    with closing(Store(store_url)) as store:
        made = EngageWorld(tmp_path, store, datetime(2026, 3, 1, tzinfo=UTC), changes_max=3)
        made.configure(made.audience(KEY, VIP))
        yield made
        made.crash()


@pytest.fixture
def uploads(world: EngageWorld, vault: SubjectVault) -> ListUploads:
    return ListUploads(world.store, vault=vault, rules=IdentityRules(), clock=world.clock)


def stage(uploads: ListUploads, *ids: str, column: str = "email") -> ListUpload:
    content = "\n".join([column, *ids]).encode()
    return uploads.stage(NewUpload(key=KEY, file_name="vip.csv", actor="test"), [content])


def upload(uploads: ListUploads, *ids: str, mode: str = "replace", column: str = "email") -> ListUpload:
    return uploads.save(stage(uploads, *ids, column=column), mode, actor="test")


def members(world: EngageWorld, key: str = KEY) -> set[str]:
    """Emails and user ids of the members, as the store has them."""
    world.run_until_idle()
    in_facts = set(world.values(key))
    with world.store.reading() as work:
        ids = ids_of(work, in_facts)
    return {value for pairs in ids.values() for type_, value in pairs if type_ != "anonymous_id"}


def buy(world: EngageWorld, message_id: str, **ids: object) -> None:
    world.receive([{"type": "track", "event": "Order Completed", "messageId": message_id, **ids}])


def email_of(email: str) -> dict[str, object]:
    return {"anonymousId": f"a-{email}", "context": {"traits": {"email": email}}}


def test_the_members_are_the_ids_of_the_file(world: EngageWorld, uploads: ListUploads) -> None:
    buy(world, "m1", **email_of("ann@gym.com"), userId="ann")
    staged = stage(uploads, "Ann@gym.com", "ben@gym.com", "ben@gym.com ", "nonsense", "", "cid@gym.com")
    assert members(world) == set(), "a file that is not saved changes nothing"
    uploads.save(staged, "replace", actor="test")
    assert members(world) == {"ann@gym.com", "ann", "ben@gym.com", "cid@gym.com"}
    assert (staged.row_count, staged.entry_count, staged.duplicate_count, staged.invalid_count) == (5, 3, 1, 1)
    assert [(problem.line, problem.problem) for problem in read_problems(staged)] == [
        (5, "This is not an email address.")
    ]


def test_the_preview_counts_customers(world: EngageWorld, uploads: ListUploads) -> None:
    buy(world, "m1", **email_of("ann@gym.com"), userId="ann")
    buy(world, "m2", userId="ben")
    world.run_until_idle()
    staged = stage(uploads, "ann", "ben", "cid", column="user_id")
    assert (staged.known_count, staged.without_email_count, staged.added_count, staged.removed_count) == (2, 2, 3, 0)
    upload(uploads, "ann@gym.com", "dan@gym.com")
    staged = stage(uploads, "ann@gym.com", "eve@gym.com", "fay@gym.com")
    assert (staged.known_count, staged.without_email_count, staged.added_count, staged.removed_count) == (1, 0, 2, 1)


def test_a_later_file_replaces_or_adds(world: EngageWorld, uploads: ListUploads) -> None:
    first = upload(uploads, "ann@gym.com", "ben@gym.com")
    assert members(world) == {"ann@gym.com", "ben@gym.com"}
    upload(uploads, "ben@gym.com", "cid@gym.com", mode="add")
    assert members(world) == {"ann@gym.com", "ben@gym.com", "cid@gym.com"}
    upload(uploads, "dan", mode="replace", column="user_id")
    assert members(world) == {"dan"}
    with world.store.reading() as work:
        replaced = find_upload(work, KEY, first.id)
    uploads.save(replaced, "replace", actor="test")
    assert members(world) == {"ann@gym.com", "ben@gym.com"}, "a replaced file can be restored"


def test_other_audiences_refer_to_members(world: EngageWorld, uploads: ListUploads) -> None:
    world.configure(
        world.audience(KEY, VIP),
        world.audience("buying_vips", "trait('vip') = true AND event('Order Completed').count() >= 1"),
        world.audience("sleepers", "NOT event('Order Completed').count() >= 1"),
    )
    buy(world, "m1", **email_of("ann@gym.com"))
    upload(uploads, "ann@gym.com", "ben@gym.com")
    assert members(world, "buying_vips") == {"ann@gym.com"}
    assert members(world, "sleepers") == {"ben@gym.com"}, "a customer that a list brings is in computed audiences, too"
    buy(world, "m2", **email_of("ben@gym.com"))
    assert members(world, "buying_vips") == {"ann@gym.com", "ben@gym.com"}
    upload(uploads, "ben@gym.com")
    assert members(world, "buying_vips") == {"ben@gym.com"}


@pytest.mark.sample(4)
@pytest.mark.parametrize(("steps", "loses_facts"), [(0, False), (2, True), (4, False), (6, True), (8, False)])
def test_a_crash_ends_in_the_new_list(
    world: EngageWorld, uploads: ListUploads, steps: int, *, loses_facts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: whatever is interrupted, the members are those of the saved file; checks find no difference."""
    monkeypatch.setattr("punchcard.engage.static_lists.ENTRIES_PER_PART", 2)
    upload(uploads, *(f"c{number}@gym.com" for number in range(5)))
    before = {f"c{number}@gym.com" for number in range(5)}
    assert members(world) == before
    world.crash(loses_facts=loses_facts)
    assert members(world) == before, "a recompute drops no member"
    upload(uploads, *(f"c{number}@gym.com" for number in range(3, 9)))
    for _ in range(steps):
        assert world.engine is not None
        world.engine.step()
    world.crash(loses_facts=loses_facts)
    assert members(world) == {f"c{number}@gym.com" for number in range(3, 9)}
    assert world.engine is not None
    assert world.engine.check() == 0


class Torn:
    """A file that ends with an error after some rows, as when the connection breaks."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"email\n" + b"".join(b"n%d@gym.com\n" % number for number in range(5_000))
        raise StorageError("The connection is closed.")


def test_a_torn_upload_leaves_the_old_list(world: EngageWorld, uploads: ListUploads) -> None:
    upload(uploads, "ann@gym.com")
    with pytest.raises(StorageError):
        uploads.stage(NewUpload(key=KEY, file_name="torn.csv", actor="test"), Torn())
    with world.store.reading() as work:
        uploads_now = static_lists.list_uploads_of(work, KEY, limit=5)
    (torn,) = [each for each in uploads_now if each.file_name == "torn.csv"]
    assert torn.status is UploadStatus.ENDED
    with pytest.raises(ConfigurationError, match="cannot be saved"):
        uploads.save(torn, "replace", actor="test")
    assert count_entries(world) > 1
    assert members(world) == {"ann@gym.com"}
    assert count_entries(world) == 1, "what was read of it is deleted"


def count_entries(world: EngageWorld) -> int:
    with world.store.reading() as work:
        return work.scalar(select(func.count()).select_from(list_entries)) or 0


def test_entries_of_replaced_and_deleted_lists_are_deleted_after_a_week(
    world: EngageWorld, uploads: ListUploads
) -> None:
    upload(uploads, "ann@gym.com", "ben@gym.com")
    upload(uploads, "cid@gym.com")
    stage(uploads, "dan@gym.com")
    assert members(world) == {"cid@gym.com"}
    assert count_entries(world) == 4
    world.advance(days=2)
    world.run_until_idle()
    assert count_entries(world) == 3, "a file that nobody saved is deleted after a day"
    world.advance(days=6)
    world.run_until_idle()
    assert count_entries(world) == 1
    world.configure()
    world.run_until_idle()
    world.advance(days=6)
    world.run_until_idle()
    world.configure(world.audience(KEY, VIP))
    assert members(world) == {"cid@gym.com"}, "a deletion is undone with its members"
    world.configure()
    for _ in range(2):
        world.advance(days=8)
        world.run_until_idle()
    assert count_entries(world) == 0


def test_merged_profiles_stay_members(world: EngageWorld, uploads: ListUploads) -> None:
    upload(uploads, "ann@gym.com")
    buy(world, "m1", userId="ann")
    world.run_until_idle()
    buy(world, "m2", userId="ann", **email_of("ann@gym.com"))
    assert members(world) == {"ann@gym.com", "ann"}
    assert world.engine is not None
    assert world.engine.check() == 0


def test_a_deleted_person_leaves_the_list(world: EngageWorld, uploads: ListUploads) -> None:
    """Promise: nothing of a deleted person stays in a list, and no recompute brings the person back."""
    upload(uploads, "ann@gym.com", "ben@gym.com")
    world.run_until_idle()
    assert world.facts is not None
    profile = min(world.values(KEY))
    with world.store.unit_of_work() as work:
        ids = {value for _, value in ids_of(work, [profile])[profile]}
        for table in ("facts", "traits", "people", "list_members"):
            world.facts.delete_people(table, [profile])
        erase_profiles(work, [profile])
        erase_profile_ids(work, ErasedIds(emails=frozenset(ids)))
    world.crash(loses_facts=True)
    assert members(world) == {"ann@gym.com", "ben@gym.com"} - ids
    assert count_entries(world) == 1


def test_a_disabled_list_keeps_its_members(world: EngageWorld, uploads: ListUploads) -> None:
    upload(uploads, "ann@gym.com")
    world.run_until_idle()
    world.configure(replace(world.audience(KEY, VIP), enabled=False))
    world.run_until_idle()
    upload(uploads, "ben@gym.com")
    assert members(world) == {"ann@gym.com"}
    world.configure(world.audience(KEY, VIP))
    assert members(world) == {"ben@gym.com"}


def test_a_download_can_be_uploaded_again(world: EngageWorld, uploads: ListUploads) -> None:
    upload(uploads, "u1", "+u2", column="user_id")
    pieces = list(write_export(export_list(world.store, KEY), ExportFormat.CSV))
    assert b"".join(pieces).splitlines() == [b"user_id", b"'+u2", b"u1"]
    again = uploads.stage(NewUpload(key=KEY, file_name="again.csv", actor="test"), pieces)
    assert (again.added_count, again.removed_count, again.entry_count) == (0, 0, 2)


def test_many_rows_are_read_in_bounded_memory(sqlite_url: str, vault: SubjectVault) -> None:
    rows = int(os.environ.get("LIST_ROWS", "5000"))

    def pieces() -> Iterator[bytes]:
        yield b"email,note\n"
        for begin in range(0, rows, 100):
            yield b"".join(b"c%d@gym.com,%s\n" % (number, b"x" * 2_000) for number in range(begin, begin + 100))

    with closing(Store(sqlite_url)) as store:
        uploads = ListUploads(store, vault=vault, rules=IdentityRules(), clock=SystemClock())
        tracemalloc.start()
        try:
            staged = uploads.stage(NewUpload(key=KEY, file_name="big.csv", actor="test"), pieces())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert staged.entry_count == rows
    assert peak < 8 << 20, "the file has 10 MB; two thousand ids are held at a time"


@pytest.fixture
def sync(tmp_path: Path, store_url: str) -> Iterator[SyncWorld]:
    with closing(Store(store_url)) as store:
        made = SyncWorld(tmp_path, store)
        made.audience(definition=f"list('{SYNC_KEY}')", send=("identify", "track"))
        yield made
        made.world.crash()
        made.log.close()


def test_entering_and_leaving_a_list_is_synced_once(sync: SyncWorld, vault: SubjectVault) -> None:
    """Promise: a track call of an audience can earn points, so each entry is sent once, whatever is uploaded again."""
    uploads = ListUploads(sync.store, vault=vault, rules=IdentityRules(), clock=sync.world.clock)

    def save(*rows: str, column: str = "email", mode: str = "replace") -> None:
        new = NewUpload(key=SYNC_KEY, file_name="list.csv", actor="test")
        uploads.save(uploads.stage(new, ["\n".join([column, *rows]).encode()]), mode, actor="test")
        sync.run_until_idle()
        sync.world.advance(hours=1)

    save("ann@example.com", "bea@example.com")
    entered = [("Audience Entered", "ann@example.com"), ("Audience Entered", "bea@example.com")]
    assert sorted(sync.tracked()) == entered
    save("ann@example.com", "bea@example.com")
    save("ann@example.com", mode="add")
    assert sorted(sync.tracked()) == entered, "the same members again"
    save("bea@example.com")
    assert sync.tracked()[2:] == [("Audience Exited", "ann@example.com")]
    save("cid", "bea@example.com", column="user_id")
    assert sync.tracked()[3:] == [("Audience Exited", "bea@example.com")], "a user id that nobody has had no email"
    sync.identify("cid", email="cid@example.com")
    sync.run_until_idle()
    assert sync.tracked()[4:] == [("Audience Entered", "cid@example.com")]
    sync.world.crash(loses_facts=True)
    sync.run_until_idle()
    assert len(sync.tracked()) == 5, "a recompute sends nothing again"
