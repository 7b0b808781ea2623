"""Small promises of the App that hold for every page."""

import json
from urllib.parse import quote

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.app.forms import form_errors_from
from punchcard.app.passwords import DUMMY_HASH, hash_password, verify_password
from punchcard.app.rendering import json_text
from punchcard.app.request_context import Notice, csrf_token, local_path, read_notices
from punchcard.errors import ConfigurationError
from punchcard.workspace.editing import generate_write_key, suggest_slug, unique_slug
from punchcard.workspace.problems import Problem


@given(st.text(max_size=40))
def test_a_local_path_stays_here(text: str) -> None:
    path = local_path(text)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert path.isprintable()


@given(st.text(max_size=60))
def test_any_cookie_is_read_as_notices_or_none(text: str) -> None:
    assert all(isinstance(notice, Notice) for notice in read_notices(text))


def test_notices_are_read_back() -> None:
    cookie = quote(json.dumps([{"text": "saved"}, {"text": "“x” & <b>", "is_warning": True}]))
    assert read_notices(cookie) == (Notice("saved"), Notice("“x” & <b>", is_warning=True))
    assert read_notices(quote(json.dumps(["of an older version"]))) == ()
    assert read_notices(None) == ()


def test_a_form_token_belongs_to_its_session() -> None:
    assert csrf_token("one") != csrf_token("other")
    assert "one" not in csrf_token("one")


def test_passwords() -> None:
    stored = hash_password("correct horse battery")
    assert stored.startswith("$argon2id$")
    assert verify_password(stored, "correct horse battery")
    assert not verify_password(stored, "correct horse batterz")
    assert not verify_password(None, "there is no such operator")
    with pytest.raises(ConfigurationError, match="at least 12"):
        hash_password("short")


def test_the_password_of_nobody_is_checked_with_the_cost_of_a_real_one() -> None:
    parameters = argon2.extract_parameters(DUMMY_HASH)
    assert parameters == argon2.extract_parameters(hash_password("correct horse battery"))


def test_problems_stand_beside_their_fields() -> None:
    problems = (
        Problem(path=("destinations", "perkville", "settings", "apiKey"), message="is required"),
        Problem(path=("destinations", "perkville", "settings", "eventToPerkMap", "Checked In"), message="is no id"),
        Problem(path=("workspace",), message="is odd"),
    )
    error = ConfigurationError("errors", problems=problems)
    errors = form_errors_from(error, names={"settings.eventToPerkMap": "map"})
    assert errors.for_field("settings.apiKey") == "Is required."
    assert errors.for_field("map") == '"Checked In": is no id.'
    assert errors.general == ["workspace: is odd"]


@pytest.mark.parametrize(
    ("name", "slug"), [("Main street shop", "main-street-shop"), ("  Été! ", "t"), ("***", ""), ("A" * 99, "a" * 64)]
)
def test_a_name_suggests_a_slug(name: str, slug: str) -> None:
    assert suggest_slug(name) == slug


def test_a_taken_slug_gets_a_number() -> None:
    assert unique_slug("shop", {"shop", "shop-2"}) == "shop-3"


def test_write_keys_are_no_options_of_commands() -> None:
    assert all(generate_write_key()[0].isalnum() for _ in range(200))


def test_data_in_a_page_cannot_end_its_element() -> None:
    text = json_text({"name": "</script><script>alert(1)</script>"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><script>alert(1)</script>"}
