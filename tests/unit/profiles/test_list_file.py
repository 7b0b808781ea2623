"""Rows of uploaded lists: columns recognized, ids read, bad rows named with their lines."""

from collections.abc import Iterable

import pytest

from punchcard.errors import ConfigurationError
from punchcard.profiles import list_file
from punchcard.profiles.list_file import LINE_BYTES_MAX, ListFile


def read(content: bytes | Iterable[bytes], **options: str) -> tuple[ListFile, list[tuple[int, str]]]:
    """The file, and line with value (or problem) of each row."""
    file = ListFile([content] if isinstance(content, bytes) else content, **options)
    return file, [(row.line, row.value or row.problem) for row in file]


@pytest.mark.parametrize(
    ("content", "name", "id_type", "values"),
    [
        pytest.param(b"email\nAnn@Gym.com\n", "email", "email", ["ann@gym.com"], id="lower case"),
        pytest.param(
            b"Name;E-Mail Address\nAnn;ann@gym.com\n", "E-Mail Address", "email", ["ann@gym.com"], id="semicolon"
        ),
        pytest.param(b"User ID\tPlan\nu1\tgold\n", "User ID", "user_id", ["u1"], id="tab, user id"),
        pytest.param(b"customer_id,email\nu1,ann@gym.com\n", "email", "email", ["ann@gym.com"], id="email first"),
        pytest.param(
            b"Ann,ann@gym.com\nBen,ben@gym.com", "column 2", "email", ["ann@gym.com", "ben@gym.com"], id="no header"
        ),
        pytest.param(b"\xef\xbb\xbfemail\r\nann@gym.com\r\n", "email", "email", ["ann@gym.com"], id="mark, CRLF"),
        pytest.param(
            b'note,email\n"two\nlines","ann@gym.com"\n', "email", "email", ["ann@gym.com"], id="quoted line end"
        ),
        pytest.param(b"email\n'+ann@gym.com\n", "email", "email", ["+ann@gym.com"], id="defused by an export"),
        pytest.param(b"email\n\n , \nann@gym.com\n", "email", "email", ["ann@gym.com"], id="empty rows"),
    ],
)
def test_the_column_is_recognized(content: bytes, name: str, id_type: str, values: list[str]) -> None:
    for pieces in ([content], [content[i : i + 1] for i in range(len(content))]):
        file, rows = read(pieces)
        assert (file.column.name, file.column.id_type) == (name, id_type)
        assert [value for _, value in rows] == values


def test_a_named_column_is_used() -> None:
    file, rows = read(b"email,Loyalty No\nann@gym.com,L1\n", column="loyalty no")
    assert (file.column.id_type, rows) == ("user_id", [(2, "L1")])
    assert read(b"Contact\nann@gym.com\n", column="Contact", id_type="email")[1] == [(2, "ann@gym.com")]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"plain,ann\n", "This is not an email address."),
        (b"plain,ann@gym\n", "This is not an email address."),
        (b"plain, \n", "The cell is empty."),
        (b"plain\n", "The row has no column 2."),
        (b"plain,a\xff@gym.com\n", "The line is not UTF-8 text."),
        (b'"a"b,ann@gym.com\n', "The line cannot be read as CSV: ',' expected after '\"'."),
        (b"plain," + b"x" * 501 + b"\n", "The id is too long"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(row: bytes, problem: str) -> None:
    rows = read(b'name,email\n"A\nnn",ann@gym.com\n' + row + b"Ben,ben@gym.com\n")[1]
    assert rows[0] == (2, "ann@gym.com")
    assert rows[1][0] == 4
    assert rows[1][1].startswith(problem)
    assert rows[2] == (5, "ben@gym.com")


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        (b"", {}, "The file is empty"),
        (b"\n", {}, "The file is empty"),
        ("email\nann@gym.com".encode("utf-16"), {}, "UTF-16"),
        (b"name,plan\nAnn,gold\n", {}, 'the file has: "name", "plan".'),
        (b"email\n", {"column": "mail"}, 'There is no column "mail".'),
        (b"x" * (LINE_BYTES_MAX + 1), {}, "Line 1 is longer"),
        (b"email\nann@gym.com\n" + b"x" * (LINE_BYTES_MAX + 1), {}, "Line 3 is longer"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(content: bytes, options: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem.replace(".", "[.]")):
        read(content, **options)


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_file, "LIST_ROWS_MAX", 2)
    assert len(read(b"email\na@x.com\nb@x.com\n")[1]) == 2
    with pytest.raises(ConfigurationError, match="more than 2 rows"):
        read(b"email\na@x.com\nb@x.com\nc@x.com\n")
