"""The promise of operators and sessions on both engines: one owner at first, always one, and no session without end."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from punchcard.errors import ConfigurationError
from punchcard.store.access.access_settings import REQUIRES_TWO_FACTOR, read_setting, write_setting
from punchcard.store.access.invitations import (
    INVITATION_LENGTH,
    add_invitation,
    delete_invitation,
    find_invitation,
    list_invitations,
)
from punchcard.store.access.operators import (
    FAILURES_REMEMBERED,
    Operator,
    change_operator,
    count_failures,
    count_operators,
    create_operator,
    forget_failures,
    note_failure,
    operator_by_email,
    remove_operator,
)
from punchcard.store.access.passkeys import (
    NAME_CHARACTERS_MAX,
    Credential,
    add_passkey,
    has_passkeys_at,
    note_passkey_use,
    passkey_of_credential,
    remove_passkey,
    use_challenge,
)
from punchcard.store.access.password_resets import (
    RESET_LENGTH,
    add_password_reset,
    operator_of_reset,
    use_password_reset,
)
from punchcard.store.access.schema import used_challenges
from punchcard.store.access.second_factors import (
    accept_step,
    begin_second_factor,
    count_recovery_codes,
    enable_second_factor,
    has_second_factor,
    operators_with_second_factor,
    read_second_factor,
    remove_authenticator,
    remove_unneeded_recovery_codes,
    replace_recovery_codes,
    use_recovery_code,
)
from punchcard.store.access.sessions import (
    SESSION_IDLE,
    begin_session,
    end_session,
    list_sessions,
    operator_of_session,
    revoke_session,
)
from punchcard.store.access.token_store import Role
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def add(store: Store, clock: ManualClock, email: str, role: Role = Role.OWNER, *, is_first: bool = False) -> Operator:
    with store.unit_of_work() as work:
        return create_operator(
            work, email=email, name=email, role=role, password="hash", clock=clock, is_first=is_first
        )


def test_there_is_one_first_owner(store: Store, clock: ManualClock) -> None:
    add(store, clock, "Olga@Acme.example", is_first=True)
    with pytest.raises(ConfigurationError, match="has an owner already"):
        add(store, clock, "mallory@evil.example", is_first=True)
    with store.reading() as work:
        assert count_operators(work) == 1
        operator = operator_by_email(work, " OLGA@acme.example ")
    assert operator is not None
    assert operator.email == "olga@acme.example"


def test_an_email_is_one_operator(store: Store, clock: ManualClock) -> None:
    add(store, clock, "a@acme.example")
    with pytest.raises(ConfigurationError, match="is an operator already"):
        add(store, clock, "A@acme.example")


def test_there_is_always_an_owner(store: Store, clock: ManualClock) -> None:
    olga = add(store, clock, "olga@acme.example", is_first=True)
    lou = add(store, clock, "lou@acme.example", Role.READ_ONLY)
    with pytest.raises(ConfigurationError, match="last owner"), store.unit_of_work() as work:
        change_operator(work, olga.id, role=Role.EDITOR)
    with pytest.raises(ConfigurationError, match="last owner"), store.unit_of_work() as work:
        remove_operator(work, olga.id)
    with store.unit_of_work() as work:
        change_operator(work, lou.id, role=Role.OWNER)
        remove_operator(work, olga.id)
    with store.reading() as work:
        assert count_operators(work) == 1


def test_a_session_is_its_operators_until_it_ends(store: Store, clock: ManualClock) -> None:
    olga = add(store, clock, "olga@acme.example")
    with store.unit_of_work() as work:
        first, second = begin_session(work, olga, clock=clock), begin_session(work, olga, clock=clock)
    assert operator_of_session(store, first, clock=clock) is not None
    assert operator_of_session(store, "a guess", clock=clock) is None
    with store.unit_of_work() as work:
        end_session(work, first)
    assert operator_of_session(store, first, clock=clock) is None
    clock.advance((SESSION_IDLE - timedelta(minutes=1)).total_seconds())
    assert operator_of_session(store, second, clock=clock) is not None  # and this counts as use
    clock.advance((SESSION_IDLE - timedelta(minutes=1)).total_seconds())
    assert operator_of_session(store, second, clock=clock) is not None
    with store.unit_of_work() as work:
        change_operator(work, olga.id, password="other")
    assert operator_of_session(store, second, clock=clock) is None


@pytest.mark.parametrize("change", [{"role": Role.EDITOR}, {"password": "other"}], ids=["role", "password"])
def test_another_role_or_password_ends_the_sessions_of_this_operator_only(
    store: Store, clock: ManualClock, change: dict[str, Any]
) -> None:
    add(store, clock, "olga@acme.example", is_first=True)
    lou, ann = (add(store, clock, email, Role.READ_ONLY) for email in ("lou@acme.example", "ann@acme.example"))
    with store.unit_of_work() as work:
        secrets = {operator.id: begin_session(work, operator, clock=clock) for operator in (lou, ann)}
        change_operator(work, lou.id, **change)
    assert operator_of_session(store, secrets[lou.id], clock=clock) is None
    assert operator_of_session(store, secrets[ann.id], clock=clock) is not None


def test_an_operator_revokes_their_own_sessions_only(store: Store, clock: ManualClock) -> None:
    olga, lou = (add(store, clock, email) for email in ("olga@acme.example", "lou@acme.example"))
    with store.unit_of_work() as work:
        begin_session(work, olga, clock=clock, address="192.0.2.1", user_agent="Mozilla\x00/5.0")
        (session,) = list_sessions(work, olga.id, clock=clock)
        assert (session.address, "Mozilla" in session.user_agent) == ("192.0.2.1", True)
        assert not revoke_session(work, lou.id, session.id)
        assert revoke_session(work, olga.id, session.id)
        assert list_sessions(work, olga.id, clock=clock) == []
        begin_session(work, olga, clock=clock)
        clock.advance(SESSION_IDLE.total_seconds())
        assert list_sessions(work, olga.id, clock=clock) == []


def test_of_two_uses_of_an_invitation_one_succeeds(store: Store, clock: ManualClock) -> None:
    with store.unit_of_work() as work:
        invitation, secret = add_invitation(
            work, email="Ann@Acme.example", role=Role.EDITOR, invited_by="operator olga", clock=clock
        )
        assert find_invitation(work, secret, clock=clock) == invitation
        assert invitation.email == "ann@acme.example"
        assert delete_invitation(work, invitation.id)
        assert not delete_invitation(work, invitation.id)
        assert find_invitation(work, secret, clock=clock) is None


def test_a_second_invitation_replaces_the_first_and_each_ends_in_time(store: Store, clock: ManualClock) -> None:
    secrets = []
    for role in (Role.EDITOR, Role.OWNER):
        with store.unit_of_work() as work:
            secrets.append(add_invitation(work, email="ann@a.example", role=role, invited_by="x", clock=clock)[1])
    with store.reading() as work:
        assert find_invitation(work, secrets[0], clock=clock) is None
        (invitation,) = list_invitations(work)
        assert find_invitation(work, secrets[1], clock=clock) == invitation
    assert invitation.role is Role.OWNER
    clock.advance(INVITATION_LENGTH.total_seconds())
    with store.reading() as work:
        assert find_invitation(work, secrets[1], clock=clock) is None
        assert list_invitations(work) == [invitation]


def test_failures_are_forgotten_in_time_or_at_once(store: Store, clock: ManualClock) -> None:
    with store.unit_of_work() as work:
        note_failure(work, ["olga 192.0.2.1", "192.0.2.1"], clock=clock)
        note_failure(work, ["lou 192.0.2.1", "192.0.2.1"], clock=clock)
        assert count_failures(work, "192.0.2.1", clock=clock) == 2
        forget_failures(work, "olga 192.0.2.1")
        assert count_failures(work, "olga 192.0.2.1", clock=clock) == 0
        clock.advance(FAILURES_REMEMBERED.total_seconds() + 1)
        assert count_failures(work, "192.0.2.1", clock=clock) == 0


def test_a_removed_operator_leaves_nothing_to_sign_in_with(store: Store, clock: ManualClock) -> None:
    add(store, clock, "olga@acme.example", is_first=True)
    lou = add(store, clock, "lou@acme.example")
    with store.unit_of_work() as work:
        session, reset = begin_session(work, lou, clock=clock), add_password_reset(work, lou.id, clock=clock)
        assert begin_second_factor(work, lou.id, "encrypted", clock=clock)
        assert enable_second_factor(work, lou.id, clock=clock)
        replace_recovery_codes(work, lou.id, ["a code"])
        add_passkey(work, lou.id, "phone", credential("lou"), clock=clock)
        remove_operator(work, lou.id)
    assert operator_of_session(store, session, clock=clock) is None
    with store.reading() as work:
        assert operator_of_reset(work, reset, clock=clock) is None
        assert read_second_factor(work, lou.id) is None
        assert count_recovery_codes(work, lou.id) == 0
        assert passkey_of_credential(work, "lou") is None


def credential(id: str) -> Credential:
    return Credential(credential_id=id, public_key="key", sign_count=5, user_handle="handle", rp_id="acme.example")


def test_a_passkey_is_a_second_factor_and_recovery_codes_end_with_the_last_factor(
    store: Store, clock: ManualClock
) -> None:
    olga = add(store, clock, "olga@acme.example")
    with store.unit_of_work() as work:
        session = begin_session(work, olga, clock=clock)
        write_setting(work, REQUIRES_TWO_FACTOR, "1")
    signed_in = operator_of_session(store, session, clock=clock)
    assert signed_in is not None
    assert signed_in.must_set_up_two_factor
    with store.unit_of_work() as work:
        assert not has_second_factor(work, olga.id)
        passkey = add_passkey(work, olga.id, "phone", credential("olga"), clock=clock)
        begin_second_factor(work, olga.id, "secret", clock=clock)
        enable_second_factor(work, olga.id, clock=clock)
        replace_recovery_codes(work, olga.id, ["a"])
        assert operators_with_second_factor(work) == {olga.id}
        assert remove_authenticator(work, olga.id)
        assert has_second_factor(work, olga.id)
        assert count_recovery_codes(work, olga.id) == 1
    signed_in = operator_of_session(store, session, clock=clock)
    assert signed_in is not None
    assert not signed_in.must_set_up_two_factor
    with store.unit_of_work() as work:
        assert not remove_passkey(work, "somebody else", passkey.id)
        assert remove_passkey(work, olga.id, passkey.id)
        remove_unneeded_recovery_codes(work, olga.id)
        assert not has_second_factor(work, olga.id)
        assert count_recovery_codes(work, olga.id) == 0
        assert not operators_with_second_factor(work)


def test_a_credential_is_known_once_and_each_use_advances_it(store: Store, clock: ManualClock) -> None:
    olga, lou = add(store, clock, "olga@acme.example"), add(store, clock, "lou@acme.example")
    with store.unit_of_work() as work:
        passkey = add_passkey(work, olga.id, "x" * 100, credential("id"), clock=clock)
        assert len(passkey.name) == NAME_CHARACTERS_MAX
        assert [note_passkey_use(work, passkey, 6, clock=clock) for _ in range(2)] == [True, False]
        assert has_passkeys_at(work, "acme.example")
        assert not has_passkeys_at(work, "evil.example")
    with pytest.raises(ConfigurationError, match="registered already"), store.unit_of_work() as work:
        add_passkey(work, lou.id, "phone", credential("id"), clock=clock)


def test_a_challenge_is_used_once_and_forgotten_after_its_time(store: Store, clock: ManualClock) -> None:
    hour = timedelta(hours=1)
    with store.unit_of_work() as work:
        used = [use_challenge(work, text, valid_for=hour, clock=clock) for text in ("a", "a", "b")]
    assert used == [True, False, True]
    clock.advance(hour.total_seconds())
    with store.unit_of_work() as work:
        assert use_challenge(work, "c", valid_for=hour, clock=clock)
        assert work.scalar(select(func.count()).select_from(used_challenges)) == 1


def test_a_second_factor_is_confirmed_once_and_each_step_and_code_is_used_once(
    store: Store, clock: ManualClock
) -> None:
    olga = add(store, clock, "olga@acme.example")
    with store.unit_of_work() as work:
        assert begin_second_factor(work, olga.id, "first", clock=clock)
        assert begin_second_factor(work, olga.id, "second", clock=clock)  # not confirmed yet, so replaced
        assert enable_second_factor(work, olga.id, clock=clock)
        assert not enable_second_factor(work, olga.id, clock=clock)
        assert not begin_second_factor(work, olga.id, "third", clock=clock)
        factor = read_second_factor(work, olga.id)
        assert factor is not None
        assert factor.secret == "second"
        assert [accept_step(work, olga.id, step) for step in (7, 7, 6, 8)] == [True, False, False, True]
        replace_recovery_codes(work, olga.id, ["a", "b"])
        assert [use_recovery_code(work, olga.id, code) for code in ("a", "a", "c", "b")] == [True, False, False, True]
        assert operators_with_second_factor(work) == {olga.id}


def test_a_link_for_a_new_password_ends_with_its_use_its_time_and_the_next_one(
    store: Store, clock: ManualClock
) -> None:
    olga = add(store, clock, "olga@acme.example")
    with store.unit_of_work() as work:
        first, second = (add_password_reset(work, olga.id, clock=clock) for _ in range(2))
        assert operator_of_reset(work, first, clock=clock) is None
        assert operator_of_reset(work, second, clock=clock) == olga.id
        assert use_password_reset(work, second)
        assert not use_password_reset(work, second)
        third = add_password_reset(work, olga.id, clock=clock)
        clock.advance(RESET_LENGTH.total_seconds())
        assert operator_of_reset(work, third, clock=clock) is None


def test_settings_of_access_are_replaced_and_removed(store: Store) -> None:
    with store.unit_of_work() as work:
        for value in ("1", "2", ""):
            write_setting(work, REQUIRES_TWO_FACTOR, value)
            assert read_setting(work, REQUIRES_TWO_FACTOR) == value
