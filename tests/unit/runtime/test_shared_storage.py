"""Which settings go together on several machines."""

import pytest

from punchcard.errors import ConfigurationError
from punchcard.runtime.settings import read_settings
from punchcard.runtime.shared_storage import refuse_wrong_combination

SHARED = {
    "PUNCHCARD_DATABASE_URL": "postgresql://db/points",
    "PUNCHCARD_LOG_URL": "postgresql://db/points",
    "PUNCHCARD_SECRET_KEY": "correct horse battery staple",
}


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param((), id="everything shared"),
        pytest.param(("PUNCHCARD_LOG_URL",), id="one data folder"),
        pytest.param(("PUNCHCARD_LOG_URL", "PUNCHCARD_SECRET_KEY"), id="one data folder, with its key"),
        pytest.param(tuple(SHARED), id="one machine"),
    ],
)
def test_a_combination_that_works_is_taken(missing: tuple[str, ...]) -> None:
    refuse_wrong_combination(read_settings({name: value for name, value in SHARED.items() if name not in missing}))


@pytest.mark.parametrize("missing", ["PUNCHCARD_DATABASE_URL", "PUNCHCARD_SECRET_KEY"])
def test_a_shared_log_needs_what_else_is_shared(missing: str) -> None:
    settings = read_settings({name: value for name, value in SHARED.items() if name != missing})
    with pytest.raises(ConfigurationError, match=f"Set {missing}"):
        refuse_wrong_combination(settings)


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        refuse_wrong_combination(read_settings({"PUNCHCARD_LOG_URL": SHARED["PUNCHCARD_LOG_URL"]}))
    assert len(refused.value.message.splitlines()) == 2
