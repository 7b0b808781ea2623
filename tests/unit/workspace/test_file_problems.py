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
        ('[[alert_rules]]\nrule = "lake"\nthreshold = "x"\n', "lake.threshold"),
    ],
)
def test_problem_of_an_entry_with_a_derived_slug_is_reported_once(table: str, place: str) -> None:
    (line,) = problems(f'[workspace]\nname = "Acme"\n[[sources]]\nslug = "web"\nwrite_key = "wk_web"\n{table}')
    assert place in line
