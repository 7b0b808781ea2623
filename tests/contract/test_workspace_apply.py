"""The promise of applying: one validation, one unit of work, one revision; no secret in the clear, no change lost."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from punchcard.errors import ConfigurationError
from punchcard.store.engine import Store
from punchcard.store.workspace.configuration import revision_of
from punchcard.testing.clock import ManualClock
from punchcard.workspace.apply import apply, edit, preview
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, DestinationFilter, Source, Workspace
from punchcard.workspace.persistence import load

KEYRING = Keyring("the operator's key")
CLOCK = ManualClock()
TOKEN = "a-token-of-acme-1234"
DESTINATION = Destination(
    slug="perkville",
    type="perkville",
    sources=("website", "pos"),
    settings={
        "apiKey": TOKEN,
        "businessId": "41",
        "locationId": "7",
        "sendEmail": False,
        "eventToPerkMap": {"Order Completed": "123456", "Étape ${X}": "1"},
    },
    options={"requestsPerSecond": 5},
    filters=(
        DestinationFilter(
            title="t",
            condition="a",
            enabled=False,
            actions=({"type": "SAMPLE", "percent": 0.1},),
            id="flt_1",
            created_at="2025-01-01T00:00:00.000Z",
            updated_at="2025-01-02T00:00:00.000Z",
        ),
    ),
)
WORKSPACE = Workspace(
    name="Acme Fitness",
    timezone="America/Los_Angeles",
    sources=(
        Source(slug="pos", name="Point of sale", write_keys=("wk_pos", "wk_pos_next"), enabled=False),
        Source(slug="website", name="Website", write_keys=("wk_website",)),
    ),
    destinations=(DESTINATION,),
)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


def make(store: Store, workspace: Workspace, keyring: Keyring = KEYRING) -> list[str]:
    return [
        f"{item.kind} {item.part} {item.slug}".strip()
        for item in apply(store, workspace, clock=CLOCK, keyring=keyring, actor="a test")
    ]


def revision(store: Store) -> int:
    with store.reading() as work:
        return revision_of(work)


def with_settings(**settings: object) -> Workspace:
    return replace(WORKSPACE, destinations=(replace(DESTINATION, settings={**DESTINATION.settings, **settings}),))


def test_what_is_applied_is_what_is_read(store: Store) -> None:
    made = make(store, WORKSPACE)
    assert made == ["change workspace", "add source pos", "add source website", "add destination perkville"]
    assert load(store, KEYRING).workspace == WORKSPACE


def test_revision_rises_only_with_a_change(store: Store) -> None:
    assert revision(store) == 0
    make(store, WORKSPACE)
    assert revision(store) == 1
    assert make(store, WORKSPACE) == []
    assert make(store, replace(WORKSPACE, sources=WORKSPACE.sources[::-1])) == []
    assert revision(store) == 1
    assert make(store, replace(WORKSPACE, name="Acme")) == ["change workspace"]
    assert revision(store) == 2


def test_only_what_has_changed_is_written(store: Store) -> None:
    make(store, WORKSPACE)
    CLOCK.advance(60)
    make(store, replace(WORKSPACE, sources=(WORKSPACE.sources[0], replace(WORKSPACE.sources[1], name="Shop"))))
    with store.reading() as work:
        rows = work.execute(text("SELECT slug FROM configuration_documents ORDER BY updated_at DESC, slug")).all()
    assert rows[0].slug == "website"


def test_what_the_wanted_workspace_lacks_is_removed(store: Store) -> None:
    make(store, WORKSPACE)
    less = replace(WORKSPACE, sources=WORKSPACE.sources[:1], destinations=())
    assert make(store, less) == ["remove source website", "remove destination perkville"]
    assert load(store, KEYRING).workspace == less
    assert len(make(store, Workspace())) == 2
    assert load(store, KEYRING).workspace == Workspace()


def test_preview_says_the_same_and_changes_nothing(store: Store) -> None:
    previewed = preview(store, WORKSPACE, keyring=KEYRING)
    assert revision(store) == 0
    assert previewed == apply(store, WORKSPACE, clock=CLOCK, keyring=KEYRING, actor="a test")


def test_null_is_a_value_left_out(store: Store) -> None:
    make(store, WORKSPACE)
    nulls = replace(DESTINATION, options={"requestsPerSecond": 5, "oncePerDay": None})
    assert make(store, replace(WORKSPACE, destinations=(nulls,))) == []
    make(store, replace(WORKSPACE, destinations=(replace(nulls, enabled=False),)))
    assert load(store, KEYRING).workspace.destinations == (replace(DESTINATION, enabled=False),)


def test_secrets_are_not_in_the_store_in_the_clear(store: Store) -> None:
    make(store, WORKSPACE)
    with store.reading() as work:
        bodies = work.execute(text("SELECT body FROM configuration_documents")).scalars().all()
    assert TOKEN not in "".join(bodies)
    assert "a-token" not in repr(load(store, KEYRING))


def test_exported_file_applied_again_changes_nothing(store: Store) -> None:
    make(store, WORKSPACE)
    exported = export(load(store, KEYRING).workspace)
    assert TOKEN not in exported
    assert make(store, read_content(exported.encode(), "export", environment={})) == []
    assert revision(store) == 1


@pytest.mark.parametrize(
    ("stored", "desired", "expected"),
    [
        pytest.param(("wk_a_long_key_1",), ("••••ey_1",), ("wk_a_long_key_1",), id="kept"),
        pytest.param(("short", "key"), ("••••", "••••"), ("short", "key"), id="alike"),
        pytest.param(("wk_a_long_key_1",), ("••••ey_1", "new"), ("wk_a_long_key_1", "new"), id="beside-a-new-one"),
        pytest.param(("short", "key"), ("••••",), "several write keys have it", id="ambiguous"),
        pytest.param(("wk_a_long_key_1",), ("••••ey_2",), "the source has no such write key", id="unknown"),
        pytest.param(("wk_a_long_key_1",), ("••••ey_1", "••••ey_1"), "several write keys have it", id="twice"),
    ],
)
def test_a_masked_write_key_keeps_the_stored_one(
    store: Store, stored: tuple[str, ...], desired: tuple[str, ...], expected: tuple[str, ...] | str
) -> None:
    def with_keys(keys: tuple[str, ...]) -> Workspace:
        changed = replace(WORKSPACE.sources[0], write_keys=keys)
        return replace(WORKSPACE, sources=(changed, *WORKSPACE.sources[1:]))

    make(store, with_keys(stored))
    if isinstance(expected, str):
        with pytest.raises(ConfigurationError, match=expected):
            make(store, with_keys(desired))
        expected = stored
    else:
        make(store, with_keys(desired))
    assert load(store, KEYRING).workspace.sources[0].write_keys == expected


def test_masked_secret_keeps_the_stored_one_while_the_rest_changes(store: Store) -> None:
    make(store, WORKSPACE)
    assert make(store, with_settings(apiKey="••••1234", businessId="42")) == ["change destination perkville"]
    stored = load(store, KEYRING).workspace.destinations[0].settings
    assert (stored["apiKey"], stored["businessId"]) == (TOKEN, "42")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        pytest.param(Workspace(), "no secret is stored", id="nothing stored"),
        pytest.param(WORKSPACE, "the stored secret differs", id="another stored"),
    ],
)
def test_masked_secret_that_is_not_the_stored_one_is_refused(store: Store, first: Workspace, words: str) -> None:
    make(store, first)
    with pytest.raises(ConfigurationError, match=words) as caught:
        make(store, with_settings(apiKey="••••9999"))
    assert caught.value.message.startswith("destinations.perkville.settings.apiKey: ")
    assert load(store, KEYRING).workspace == first


def test_invalid_workspace_changes_nothing_and_all_problems_are_reported(store: Store) -> None:
    make(store, WORKSPACE)
    with pytest.raises(ConfigurationError) as caught:
        make(store, replace(with_settings(apiKey=5), timezone="Mars", sources=WORKSPACE.sources[:1]))
    lines = caught.value.message.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "workspace.timezone",
        "destinations.perkville.sources",
        "destinations.perkville.settings.apiKey",
    ]
    assert load(store, KEYRING).workspace == WORKSPACE


def test_wrong_key_says_what_to_do_and_a_secret_given_again_repairs_it(store: Store) -> None:
    make(store, WORKSPACE)
    other = Keyring("another key")
    with pytest.raises(ConfigurationError, match="Set PUNCHCARD_SECRET_KEY to the key used before"):
        load(store, other)
    with pytest.raises(ConfigurationError, match=r"cannot be read\. Enter the secret itself"):
        make(store, with_settings(apiKey="••••1234"), other)
    assert make(store, WORKSPACE, other) == ["change destination perkville"]
    assert load(store, other).workspace == WORKSPACE


def test_change_made_on_an_old_revision_is_refused(store: Store) -> None:
    make(store, WORKSPACE)
    seen = load(store, KEYRING)
    make(store, replace(WORKSPACE, name="Acme"))
    with pytest.raises(ConfigurationError) as caught:
        apply(store, seen.workspace, clock=CLOCK, keyring=KEYRING, actor="a test", expected_revision=seen.revision)
    assert caught.value.code == "configuration_changed"
    assert load(store, KEYRING).workspace.name == "Acme"


def test_edits_made_at_the_same_time_are_all_kept(store: Store) -> None:
    def add(number: int) -> None:
        source = Source(slug=f"s{number}", name="S", write_keys=(f"wk{number}",))
        edit(
            store,
            lambda now: replace(now, sources=(*now.sources, source)),
            clock=CLOCK,
            keyring=KEYRING,
            actor="a test",
        )

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [source.slug for source in load(store, KEYRING).workspace.sources] == [f"s{n}" for n in range(8)]
    assert revision(store) == 8


def test_whole_files_applied_at_the_same_time_end_as_one_of_them(store: Store) -> None:
    expected = [
        replace(WORKSPACE, name=f"W{n}", sources=(replace(WORKSPACE.sources[0], slug=f"s{n}"),), destinations=())
        for n in range(4)
    ]
    threads = [threading.Thread(target=make, args=(store, item)) for item in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load(store, KEYRING).workspace in expected
    assert revision(store) == 4
