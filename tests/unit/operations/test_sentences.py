"""Messages for people."""

from punchcard.operations.sentences import shorten


def test_a_message_that_repeats_a_long_value_keeps_its_beginning_and_its_end() -> None:
    message = f'"{"x" * 70_000}" is not a slug. Use at most 64 lower-case letters, digits and hyphens.'
    short = shorten(message)
    assert short.startswith('"xxx')
    assert " … " in short
    assert short.endswith('x" is not a slug. Use at most 64 lower-case letters, digits and hyphens.')
    assert len(short) <= 1_001


def test_other_messages_stay_as_they_are() -> None:
    for message in ("", "Must not be empty.", "x" * 1_000):
        assert shorten(message) == message
