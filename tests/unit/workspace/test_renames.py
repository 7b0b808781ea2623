"""A computation that is renamed in a config file without its key is noticed; one with a key is meant."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from punchcard.cli.running import run
from punchcard.workspace.file import derived_keys, read_content
from punchcard.workspace.file_watch import FileWatch
from punchcard.workspace.model import Workspace
from punchcard.workspace.renames import describe_removals, find_renames, refuse_renames

BOUGHT = "event('Order Completed').count() >= 1"
FILE = """
[[sources]]
slug = "web"
write_key = "wk"

[[destinations]]
slug = "perkville"
type = "perkville"
source = "web"
settings = { apiKey = "k", businessId = "41", locationId = "7", eventToPerkMap = {} }
"""


def audience(name: str, definition: str = BOUGHT, **more: str) -> str:
    lines = [f'name = "{name}"', f'definition = "{definition}"', 'destinations = ["perkville"]']
    return "\n[[audiences]]\n" + "\n".join([*lines, *(f'{key} = "{value}"' for key, value in more.items())]) + "\n"


def trait(name: str) -> str:
    return f'\n[[computed_traits]]\nname = "{name}"\ndefinition = "event(\'Order Completed\').count()"\n'


def read(*parts: str) -> tuple[Workspace, frozenset[str]]:
    content = (FILE + "".join(parts)).encode()
    return read_content(content, "file", environment={}), derived_keys(content, environment={})


def pairs(before: str, after: str) -> list[tuple[str, str]]:
    workspace, keys = read(after)
    return [(rename.old.key, rename.new.key) for rename in find_renames(read(before)[0], workspace, derived_keys=keys)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (audience("Buyers"), audience("VIPs"), [("buyers", "vips")]),
        (audience("Buyers"), audience("VIPs", "event('Order Completed').count()  >=  1"), [("buyers", "vips")]),
        (audience("Big Buyers"), audience("Big Buyers!!!"), []),
        (audience("Big Buyers"), audience("Big Buyer", "trait('x') = 1"), [("big_buyers", "big_buyer")]),
        (audience("Buyers"), audience("VIPs", key="buyers"), []),
        (audience("Buyers"), audience("VIPs", key="vips"), []),
        (audience("Buyers"), audience("Buyers") + audience("VIPs"), []),
        (audience("Buyers"), "", []),
        (audience("Buyers"), audience("Lapsed", "trait('last_visit').before_last(90 days)"), []),
        (audience("Buyers"), trait("Bought"), []),
        (trait("Bought"), trait("Purchases"), [("bought", "purchases")]),
        (audience("Old", key="mine"), audience("Newer"), [("mine", "newer")]),
        (audience("A1") + audience("B2", "trait('b') = 2"), audience("C3") + audience("D4", "trait('b') = 2"),
         [("a1", "c3"), ("b2", "d4")]),
    ],
)  # fmt: skip
def test_a_rename_is_one_that_goes_while_another_like_it_comes(before, after, expected):
    assert pairs(before, after) == expected


def test_what_is_printed_names_both_ways_and_what_stays_behind():
    workspace, keys = read(audience("VIPs").replace("destinations", 'send = ["track"]\ndestinations'))
    with pytest.raises(Exception, match="seems to be renamed") as caught:
        refuse_renames(read(audience("Buyers"))[0], workspace, derived_keys=keys)
    for part in (
        'key = "buyers"',
        'key = "vips"',
        "perkville keeps the last values of buyers",
        "enter the audience again",
    ):
        assert part in str(caught.value)


def test_a_removal_says_what_becomes_of_the_values():
    before = read(audience("Kept"), audience("Told", when_removed="false"), trait("Count"))[0]
    notes = {note.partition(":")[0]: note for note in describe_removals(before, Workspace())}
    assert "perkville keeps them" in notes["kept"]
    assert "perkville receives false for every member" in notes["told"]
    assert "stay on profiles" in notes["count"]
    assert "perkville" not in notes["count"]


@pytest.fixture
def apply(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs `punchcard apply` on a file of these parts: exit status, output, errors."""

    def run_apply(content: str, *options: str) -> tuple[int, str, str]:
        path = tmp_path / "punchcard.toml"
        path.write_text(FILE + content)
        status = run(["apply", str(path), "--data", str(tmp_path / "data"), *options])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run_apply


def test_apply_asks_before_a_rename_and_a_dry_run_says_so(apply):
    assert apply(audience("Buyers"))[0] == 0
    status, out, err = apply(audience("VIPs"), "--dry-run")
    assert status == 0
    assert "seems to be renamed" in err
    assert "- audience buyers" in out
    assert "+ audience vips" in out
    assert "Note: buyers: The last values stay on profiles" in out
    status, out, err = apply(audience("VIPs"))
    assert (status, out) == (2, ""), "there is nobody to ask"
    assert 'key = "buyers"' in err
    assert "--yes" in err
    assert "No changes" in apply(audience("Buyers"))[1]
    status, out, _ = apply(audience("VIPs", key="buyers"))
    assert status == 0
    assert "~ audience buyers" in out
    assert apply(audience("Others"), "--yes")[0] == 0
    assert "No changes" in apply(audience("Others"))[1]


def test_apply_names_what_nobody_has(apply):
    status, _, err = apply(audience("Buyers", "event('Order Completed').count() >= 1 AND trait('address.city') = 'x'"))
    assert status == 0
    assert 'Warning: Buyers: No event "Order Completed" was received yet' in err
    assert 'Warning: Buyers: Nobody has a trait "address" yet' in err
    again = apply(audience("Buyers", "event('Order Completed').count() >= 1 AND trait('address.city') = 'x'"))
    assert "Warning" not in again[2], "a warning is printed only when the definition changes"


@pytest.mark.parametrize("name", ["Покупатели", "顧客", "!!!"])
def test_a_name_without_latin_letters_asks_for_a_key(apply, name):
    status, _, err = apply(audience(name))
    assert status == 2
    assert "The name has no Latin letter or digit to derive a key from. Enter a key" in err
    assert apply(audience(name, key="buyers"))[0] == 0


def test_a_watched_file_waits_until_a_rename_is_confirmed_and_says_so(tmp_path: Path):
    path = tmp_path / "punchcard.toml"
    before = read(audience("Buyers"))[0]
    applied: list[str] = []

    def apply(workspace: Workspace) -> list[object]:
        applied.append(workspace.computations[0].key)
        return []

    def polls(watch: FileWatch) -> list[str]:
        with capture_logs() as logs:
            for _ in range(3):
                watch.poll()
        return [line["event"] for line in logs]

    path.write_text(FILE + audience("VIPs"))
    watch = FileWatch(
        path,
        apply,  # type: ignore[arg-type]
        environment={},
        confirm=lambda desired, keys: refuse_renames(before, desired, derived_keys=keys),
    )
    with capture_logs() as logs:
        assert watch.apply_now() == ()
    assert [line["event"] for line in logs] == ["config_file_unconfirmed"]
    assert polls(watch) == []
    path.write_text(FILE + audience("VIPs") + "# changed\n")
    assert polls(watch) == ["config_file_unconfirmed"]
    assert applied == []
    path.write_text(FILE + audience("VIPs", key="vips"))
    assert polls(watch) == []
    assert applied == ["vips"]
