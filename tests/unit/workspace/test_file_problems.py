"""Problems of a config file: each is reported once, at the slug of its entry."""

import pytest

from punchcard.errors import ConfigurationError
from punchcard.workspace.file import read_content


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_content(text.encode(), "punchcard.toml", environment={})
    return caught.value.message.splitlines()


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ('[[transformations]]\nname = "Round up"\nif = 3\nsource = "web"\ndrop = true\n', "round-up.if"),
        ('[[transformations]]\nname = "Round up"\nif = "all"\ndrop = true\n', "round-up.source"),
        ('[[alert_channels]]\nname = "On Call"\nurl = 3\n', "on-call.url"),
        ('[[transformations]]\nsource = "web"\nif = "all"\ndrop = true\n', "[0].name"),
        ("[[audiences]]\ndefinition = \"event('A').count() >= 1\"\n", "audiences[0].name"),
        ("[[computed_traits]]\ndefinition = \"event('A').count()\"\n", "computed_traits[0].name"),
        ('[[alert_channels]]\nurl = "https://example.com"\n', "alert_channels[0].name"),
        ('[[alert_rules]]\nrule = "lake"\nthreshold = "x"\n', "lake.threshold"),
    ],
)
def test_problem_of_an_entry_with_a_derived_slug_is_reported_once(table: str, place: str) -> None:
    (line,) = problems(f'[workspace]\nname = "Acme"\n[[sources]]\nslug = "web"\nwrite_key = "wk_web"\n{table}')
    assert place in line


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[[transformations]]\nname = "A"\nif = "all"\nsource = "web"\ndrops = true\n', "drops"),
        ('[[transformations]]\nname = "A"\nif = "all"\nsource = "web"\ncolour = "red"\n', "colour"),
        (
            '[[transformations]]\nname = "A"\nif = "all"\nsource = "web"\n'
            'propertyRenames = [{ oldname = "a", newName = "b" }]\n',
            "oldname",
        ),
        ('[[alert_channels]]\nname = "On Call"\nuri = "https://example.com"\n', "uri"),
    ],
)
def test_a_misspelt_key_is_not_reported_as_missing_too(table: str, key: str) -> None:
    (line,) = problems(f'[workspace]\nname = "Acme"\n[[sources]]\nslug = "web"\nwrite_key = "wk_web"\n{table}')
    assert f"{key}: Unknown key." in line


def test_a_key_that_an_unknown_one_cannot_be_is_reported_as_missing() -> None:
    table = '[[transformations]]\nname = "A"\nsource = "web"\ncolour = "red"\n'
    unknown, missing = problems(f'[workspace]\nname = "Acme"\n[[sources]]\nslug = "web"\nwrite_key = "wk"\n{table}')
    assert "transformations.a.colour: Unknown key." in unknown
    assert "transformations.a.if: Is missing." in missing


def test_each_transformation_without_a_name_is_reported_for_that_alone() -> None:
    table = '[[transformations]]\nsource = "web"\nif = "all"\ndrop = true\n'
    lines = problems(f'[workspace]\nname = "Acme"\n[[sources]]\nslug = "web"\nwrite_key = "wk"\n{table}{table}')
    assert len(lines) == 2
    assert all(f"[{index}].name" in line for index, line in enumerate(lines))


@pytest.mark.parametrize("end", ["\\n", "\\r\\n", "\\u2028"])
def test_a_value_of_several_lines_is_reported_in_one(end: str) -> None:
    (line,) = problems(f'[workspace]\ntimezone = "Mars{end}Phobos"\n')
    assert line.startswith('punchcard.toml:2: workspace.timezone: "Mars Phobos" is not a time zone.')
    (line,) = problems(f'[workspace]\n"a{end}b" = 1\n')
    assert ': workspace."a b": Unknown key.' in line
