"""Refused passkeys: of other sites, people, purposes and times, copied, damaged, or guessed; each with a message."""

import html
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from tests.contract.passkey_world import (
    HOUR_SECONDS,
    LocalBrowser,
    Person,
    changes_of,
    enter_password,
    message_of,
    options_of,
    running_app,
    sign_in,
    state_of,
)

from punchcard.store.access.operators import remove_operator
from punchcard.testing.authenticator import Authenticator
from punchcard.testing.operators import PASSWORD
from punchcard.testing.public_api import PublicApiServer

Damage = Callable[[dict[str, object]], object]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    with running_app(tmp_path_factory.mktemp("passkeys")) as server:
        yield server


# Each changes what a browser sends; the text is in the message.
REFUSED_SIGN_INS: dict[str, tuple[Callable[[Authenticator], Authenticator], str]] = {
    "wrong origin": (lambda device: replace(device, origin="https://evil.example"), "was not accepted"),
    "wrong port": (lambda device: replace(device, origin="http://localhost:1"), "was not accepted"),
    "another host": (lambda device: replace(device, rp_id="evil.example"), "was not accepted"),
    "person not verified": (lambda device: replace(device, verifies=False), "was not accepted"),
    "unknown credential": (lambda device: replace(device, credential_id=b"x" * 32), "is not known here"),
    "other key": (
        lambda device: replace(device, _key=Authenticator(origin=device.origin)._key),
        "was not accepted",
    ),
    "counter goes back": (lambda device: replace(device, sign_count=0), "may have been copied"),
    "another account": (lambda device: replace(device, user_handle=b"somebody else"), "belongs to another account"),
}


@pytest.mark.parametrize("case", REFUSED_SIGN_INS)
def test_a_sign_in_is_refused(world: PublicApiServer, case: str) -> None:
    person = Person(world, case.replace(" ", "-"))
    person.add()
    assert [sign_in(world, person.device).status for _ in range(2)] == [303, 303]
    change, expected = REFUSED_SIGN_INS[case]
    browser = LocalBrowser(world)
    refused = sign_in(world, change(person.device), browser)
    assert refused.status == 401
    assert expected in message_of(refused)
    assert browser.get("/").headers["location"] == "/sign-in"
    assert ("passkey_refused: None -> My phone" in changes_of(person)) == (case == "counter goes back")
    assert sign_in(world, person.device).status == 303


@pytest.mark.parametrize("case", ["replayed", "late", "tampered", "of a creation", "of a second step"])
def test_a_challenge_is_accepted_once_in_time_and_for_its_purpose(world: PublicApiServer, case: str) -> None:
    person = Person(world, f"challenge-{case.replace(' ', '-')}")
    person.device.counts = False  # so that only the challenge can give it away
    person.add()
    browser = LocalBrowser(world)
    page = browser.get("/sign-in")
    if case == "of a creation":
        page = person.begin()
    elif case == "of a second step":
        _, page = enter_password(person)
    form = {"state": state_of(page), "response": person.device.sign(options_of(page))}
    if case == "replayed":
        assert browser.send("POST", "/sign-in/passkey", form).status == 303
        assert browser.send("POST", "/sign-out", {}).status in (303, 403)
        browser = LocalBrowser(world)
    elif case == "late":
        world.clock.advance(HOUR_SECONDS)
    elif case == "tampered":
        form["state"] = form["state"][:-8] + "AAAAAAA="
    refused = browser.send("POST", "/sign-in/passkey", form)
    assert refused.status == 401
    assert ("was used before" if case == "replayed" else "open for too long") in message_of(refused)
    assert browser.get("/").headers["location"] == "/sign-in"


@pytest.mark.parametrize("state", ["own", "of the other"])
def test_the_passkey_of_another_person_is_no_second_step(world: PublicApiServer, state: str) -> None:
    person = Person(world, f"gus-{state.replace(' ', '-')}")
    other = Person(world, f"mallory-{state.replace(' ', '-')}")
    person.add()
    other.add()
    browser, page = enter_password(person)
    if state == "of the other":
        _, page = enter_password(other)
    form = {"state": state_of(page), "response": other.device.sign(options_of(page))}
    refused = browser.send("POST", "/sign-in/code/passkey", form)
    assert refused.status == 401
    assert ("another account" if state == "own" else "somebody else") in message_of(refused)
    assert browser.get("/").status == 303


def test_a_removed_operator_does_not_sign_in(world: PublicApiServer) -> None:
    hal = Person(world, "hal")
    hal.add()
    Person(world, "ida").add()  # the page offers passkeys while there are any
    with world.store.unit_of_work() as work:
        remove_operator(work, hal.operator.id)
    assert sign_in(world, hal.device).status == 401


REFUSED_CREATIONS: dict[str, tuple[Callable[[Authenticator], Authenticator], str]] = {
    "wrong origin": (lambda device: replace(device, origin="https://evil.example"), "webauthn.create"),
    "person not verified": (lambda device: replace(device, verifies=False), "webauthn.create"),
    "response of a sign-in": (lambda device: device, "webauthn.get"),
}


@pytest.mark.parametrize("case", REFUSED_CREATIONS)
def test_a_creation_is_refused(world: PublicApiServer, case: str) -> None:
    person = Person(world, f"create-{case.replace(' ', '-')}")
    change, kind = REFUSED_CREATIONS[case]
    page = person.begin()
    response = change(person.device).create(options_of(page), kind=kind)
    refused = person.browser.post("/settings/passkeys/create", state=state_of(page), response=response, name="x")
    assert refused.status == 422
    assert "was not accepted" in message_of(refused)
    assert changes_of(person) == []


def test_a_creation_is_begun_with_the_password_and_done_once(world: PublicApiServer) -> None:
    ian, jan = Person(world, "ian"), Person(world, "jan")
    assert ian.browser.post("/settings/passkeys/begin", password="a guess").status == 422
    page = ian.begin()
    form = {"state": state_of(page), "response": ian.device.create(options_of(page)), "name": "Phone"}
    assert jan.browser.post("/settings/passkeys/create", **form).status == 422  # begun by somebody else
    assert ian.browser.post("/settings/passkeys/create", **{**form, "name": ""}).status == 422
    assert ian.browser.post("/settings/passkeys/create", **form).status == 200
    assert "was used before" in message_of(ian.browser.post("/settings/passkeys/create", **form))
    assert "registered already" in html.unescape(jan.add(ian.device).text)  # the id is of the device's choice


def _set(path: str, value: object) -> Damage:
    def change(content: dict[str, object]) -> object:
        *parents, last = path.split(".")
        part = content
        for name in parents:
            part = part[name]  # type: ignore[assignment]
        part[last] = value
        return content

    return change


DAMAGED: dict[str, Damage] = {
    "nothing": lambda content: "",
    "a list": lambda content: [content],
    "no response": lambda content: {**content, "response": None},
    "client data not JSON": _set("response.clientDataJSON", "AAAA"),
    "client data a list": _set("response.clientDataJSON", "W10"),
    "client data without origin": _set("response.clientDataJSON", "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0In0"),
    "challenge a number": _set("response.clientDataJSON", "eyJ0eXBlIjoieCIsImNoYWxsZW5nZSI6Nywib3JpZ2luIjoieCJ9"),
    "id a surrogate": _set("id", "\ud800"),
    "other raw id": _set("rawId", "AAAA"),
    "raw id one character": _set("rawId", "A"),
    "other type": _set("type", "password"),
    "attachment": _set("authenticatorAttachment", "glued"),
    "too long": _set("response.clientDataJSON", "A" * 30_000),
}
DAMAGED_SIGN_INS = DAMAGED | {
    "a number": _set("response.signature", 7),
    "no signature": _set("response.signature", ""),
    "not base64": _set("response.signature", "%%%"),
    "one character": _set("response.authenticatorData", "A"),
    "short data": _set("response.authenticatorData", "AAAA"),
    "handle a number": _set("response.userHandle", 7),
}
DAMAGED_CREATIONS = DAMAGED | {
    "attestation not base64": _set("response.attestationObject", "%%%"),
    "attestation not CBOR": _set("response.attestationObject", "____"),
    "attestation a number": _set("response.attestationObject", "Bw"),
    "attestation empty": _set("response.attestationObject", "oA"),
    "attestation without data": _set("response.attestationObject", "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YUA"),
}


@pytest.fixture(scope="module")
def clumsy(world: PublicApiServer) -> Person:
    """A person at a browser that sends damaged responses."""
    person = Person(world, "clumsy")
    person.add()
    return person


@pytest.mark.parametrize("case", DAMAGED_SIGN_INS)
def test_a_damaged_response_does_not_sign_in(clumsy: Person, case: str) -> None:
    browser = LocalBrowser(clumsy.world)
    page = browser.get("/sign-in")
    response = json.loads(clumsy.device.sign(options_of(page)))
    damaged = json.dumps(DAMAGED_SIGN_INS[case](response))
    refused = browser.send("POST", "/sign-in/passkey", {"state": state_of(page), "response": damaged})
    assert refused.status == 401
    assert message_of(refused)
    clumsy.world.clock.advance(HOUR_SECONDS)  # an address has few attempts


@pytest.mark.parametrize("case", DAMAGED_CREATIONS)
def test_a_damaged_response_creates_nothing(clumsy: Person, case: str) -> None:
    browser = LocalBrowser(clumsy.world)
    assert sign_in(clumsy.world, clumsy.device, browser).status == 303
    page = browser.post("/settings/passkeys/begin", password=PASSWORD)
    response = json.loads(Authenticator(origin=clumsy.device.origin).create(options_of(page)))
    damaged = json.dumps(DAMAGED_CREATIONS[case](response))
    refused = browser.post("/settings/passkeys/create", state=state_of(page), response=damaged, name="x")
    assert refused.status == 422
    assert message_of(refused)
    assert len(changes_of(clumsy)) == 1


def test_guesses_from_one_address_end_after_a_while(world: PublicApiServer) -> None:
    ola = Person(world, "ola")
    ola.add()
    world.clock.advance(HOUR_SECONDS)
    statuses = [
        LocalBrowser(world).send("POST", "/sign-in/passkey", {"state": "x", "response": "{}"}).status for _ in range(41)
    ]
    assert statuses == [401] * 40 + [429]
    assert sign_in(world, ola.device).status == 429
    world.clock.advance(HOUR_SECONDS)
    assert sign_in(world, ola.device).status == 303
