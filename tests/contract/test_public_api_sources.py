"""What the Public API keeps beside what a config file says: labels of sources, times and sources of filters."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.damage import CONFIG, damage
from punchcard.testing.public_api import PublicApiServer

LABELS = [{"key": "environment", "value": "production"}, {"key": "team", "value": "a", "description": "of shops"}]
DROP = [{"type": "DROP"}]


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, sqlite_url, CONFIG) as server:
        yield server


def call(world: PublicApiServer, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
    response = world.request(method, path, None if body is None else json.dumps(body).encode())
    assert response.status == status, response.body
    return response.json().get("data")


def labels_of(world: PublicApiServer, slug: str) -> Any:
    return call(world, "GET", f"/api/sources/{slug}")["source"]["labels"]


def filter_named(world: PublicApiServer, title: str) -> dict[str, Any]:
    filters = call(world, "GET", "/api/destination/perkville/filters")["filters"]
    (item,) = [filter for filter in filters if filter["title"] == title]
    return dict(item)


def test_labels_survive_a_config_file_and_every_other_change(world: PublicApiServer) -> None:
    assert call(world, "PUT", "/api/sources/website/labels", {"labels": LABELS})["labels"] == LABELS
    call(world, "POST", "/api/labels", {"label": {"key": "free", "value": "x"}})
    world.configure(CONFIG)
    world.configure(CONFIG.replace('slug = "website"', 'slug = "website"\nname = "The website"', 1))
    call(world, "PATCH", "/api/sources/website", {"enabled": False})
    assert labels_of(world, "website") == LABELS
    assert labels_of(world, "pos") == []
    assert [label["key"] for label in call(world, "GET", "/api/labels")["labels"]] == ["environment", "free", "team"]


BAD_LABELS = {
    "no key": {"key": "", "value": "x"},
    "blank value": {"key": "x", "value": "  "},
    "slash": {"key": "a/b", "value": "x"},
    "newline": {"key": "a\nb", "value": "x"},
    "too long": {"key": "k" * 101, "value": "x"},
    "long description": {"key": "k", "value": "x", "description": "d" * 201},
}


@pytest.mark.parametrize("label", BAD_LABELS.values(), ids=BAD_LABELS)
@pytest.mark.parametrize(("method", "path"), [("PUT", "/api/sources/website/labels"), ("POST", "/api/labels")])
def test_a_label_that_cannot_be_kept_is_refused(
    world: PublicApiServer, method: str, path: str, label: dict[str, str]
) -> None:
    body = {"labels": [*LABELS, label]} if method == "PUT" else {"label": label}
    call(world, method, path, body, status=422)
    assert labels_of(world, "website") == []


def test_a_filter_keeps_its_creation_whoever_changes_it(world: PublicApiServer) -> None:
    body = {"sourceId": "pos", "title": "mine", "if": "all", "enabled": True, "actions": DROP}
    created = call(world, "POST", "/api/destination/perkville/filters", body)["filter"]
    assert "description" not in created
    assert (created["sourceId"], created["createdAt"]) == ("pos", created["updatedAt"])
    by_file = filter_named(world, "no staff")

    world.clock.advance(3_600)
    path = f"/api/destination/perkville/filters/{created['id']}"
    updated = call(world, "PATCH", path, {"enabled": False, "description": None})["filter"]
    assert (updated["sourceId"], updated["createdAt"]) == ("pos", created["createdAt"])
    assert updated["updatedAt"] > created["updatedAt"]
    assert "description" not in updated
    assert filter_named(world, "no staff") == by_file

    world.clock.advance(3_600)
    call(world, "PATCH", "/api/destinations/perkville", {"name": "Points"})
    assert filter_named(world, "mine") == updated
    world.configure(CONFIG.replace("properties.staff", "properties.employee"))
    changed = filter_named(world, "no staff")
    assert changed["createdAt"] == by_file["createdAt"]
    assert changed["updatedAt"] > by_file["updatedAt"]


def test_a_filter_of_a_version_without_times_keeps_what_it_has_shown(world: PublicApiServer) -> None:
    def without_times(content: dict[str, Any]) -> None:
        for filter in content["filters"]:
            del filter["created_at"], filter["updated_at"], filter["source"]

    damage(world, without_times)
    before = filter_named(world, "no staff")
    world.clock.advance(3_600)
    call(world, "PATCH", "/api/destinations/perkville", {"name": "Points"})
    call(world, "PATCH", f"/api/destination/perkville/filters/{before['id']}", {"enabled": False})
    assert filter_named(world, "no staff")["createdAt"] == before["createdAt"]
